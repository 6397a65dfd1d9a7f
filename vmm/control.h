/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* A socket to ask for snapshots. */
#ifndef VMM_CONTROL_H
#define VMM_CONTROL_H

#include "vmm.h"

#define CONTROL_MESSAGE_SIZE	512

int control_listen(struct vmm *vmm, const char *path);

/* The socket to watch for a client, -1 while there is one. */
int control_socket(struct vmm *vmm);

/* Serve a client, on a thread. */
void control_accept(struct vmm *vmm);

/* The client's request, if there is one, ends, too. */
void control_close(struct vmm *vmm);

#endif
