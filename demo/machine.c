// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* What the demo runs on: kernel, processor, hypervisor; and its clock. */
#include <cpuid.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "demo.h"

#define CPUID_HYPERVISOR_LEAF	0x40000000
#define CPUID_1_ECX_HYPERVISOR	(1u << 31)
#define CPUID_7_EBX_ERMS	(1u << 9)
#define CPUID_7_EDX_FSRM	(1u << 4)

static void cpu_name(char *name, size_t size)
{
	char line[256];
	FILE *f;

	snprintf(name, size, "unknown");
	f = fopen("/proc/cpuinfo", "r");
	if (!f)
		return;

	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, "model name", 10) || !strstr(line, ": "))
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(name, size, "%s", strstr(line, ": ") + 2);
		break;
	}
	fclose(f);
}

/* What this processor is emulated or virtualized by, from its own mouth. */
static const char *accelerator(void)
{
	static char signature[13];
	unsigned int eax, ebx, ecx, edx;

	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & CPUID_1_ECX_HYPERVISOR))
		return "none";

	__cpuid(CPUID_HYPERVISOR_LEAF, eax, ebx, ecx, edx);
	memcpy(signature, &ebx, 4);
	memcpy(signature + 4, &ecx, 4);
	memcpy(signature + 8, &edx, 4);

	if (!strcmp(signature, "TCGTCGTCGTCG"))
		return "tcg";
	if (!strcmp(signature, "KVMKVMKVM"))
		return "kvm";
	return signature;
}

static bool fast_rep_movsb(void)
{
	unsigned int eax, ebx, ecx, edx;

	return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) &&
	       ((ebx & CPUID_7_EBX_ERMS) || (edx & CPUID_7_EDX_FSRM));
}

struct machine machine_identify(const char *host_cpu)
{
	struct machine m = {
		.host_cpu = host_cpu,
		.accel = accelerator(),
		.fast_rep_movsb = fast_rep_movsb(),
	};
	struct utsname uts;

	uname(&uts);
	snprintf(m.kernel, sizeof(m.kernel), "%s", uts.release);
	cpu_name(m.cpu, sizeof(m.cpu));

	return m;
}

double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e3 + ts.tv_nsec / 1e6;
}
