/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What guest_memfd's files want of KVM, for a User-Mode Linux that has no KVM.
 * Included before anything else.
 */
#ifndef __UM_GMEM_KVM_H
#define __UM_GMEM_KVM_H

#define CONFIG_KVM_GUEST_MEMFD	1

/* In the place of linux/kvm_host.h, which needs an architecture with KVM. */
#define __KVM_HOST_H
#include <linux/kvm.h>

#endif
