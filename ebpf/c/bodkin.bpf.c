// The kernel programs of the agent: one object, every kernel with BTF.
#include "types.h"
#include "layout.h"

// Written by user space only, and as a whole: nothing that the programs write may live in .bss.
volatile struct settings settings;

#include "cgroup.h"
#include "emit.h"
#include "call.h"
#include "path.h"
#include "facts.h"
#include "life.h"
#include "snapshot.h"
#include "syscalls.h"
#include "open.h"
#include "paths.h"
#include "flow.h"
#include "socket.h"
#include "descriptor.h"
#include "plain.h"
#include "count.h"
#include "layout_check.h" // made by the build: both sides of the layout agree

// The helpers that read memory ask for it.
char LICENSE[] SEC("license") = "Dual BSD/GPL";
