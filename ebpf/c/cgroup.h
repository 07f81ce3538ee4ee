// The cgroup that names a process, and cgroups whose processes are not told.
#pragma once

#define field_offset(type, field) __builtin_preserve_field_info(((type *)0)->field, BPF_FIELD_BYTE_OFFSET)

// Cgroups whose processes are not told, by their number in the hierarchy that names processes. User space fills it; what is
// made below one of them is added here, before there can be a process in it.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CGROUPS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, u32);
} cgroup_policy SEC(".maps");

static __always_inline struct kernfs_node *kernfs_parent(struct kernfs_node *node)
{
	if (bpf_core_field_exists(node->__parent))
		return BPF_CORE_READ(node, __parent);
	return BPF_CORE_READ((struct kernfs_node___old *)node, parent);
}

// The cgroup of a task: of the v1 hierarchy that has the pids controller, else of the v2 one.
static __always_inline struct cgroup *cgroup_of(struct task_struct *task)
{
	struct css_set *set = task->cgroups;
	struct cgroup *cgroup = BPF_CORE_READ(set, dfl_cgrp);
	if (bpf_core_enum_value_exists(enum cgroup_subsys_id, pids_cgrp_id)) {
		struct cgroup_subsys_state *pids = NULL;
		u64 at = bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id) * sizeof(void *);
		bpf_probe_read_kernel(&pids, sizeof(pids), (void *)set + field_offset(struct css_set, subsys) + at);
		struct cgroup *on_pids = BPF_CORE_READ(pids, cgroup);
		if (on_pids && BPF_CORE_READ(on_pids, root) != BPF_CORE_READ(cgroup, root))
			cgroup = on_pids;
	}
	return cgroup;
}

static __always_inline bool is_unwanted_cgroup(struct task_struct *task)
{
	u64 id = BPF_CORE_READ(cgroup_of(task), kn, id);
	return bpf_map_lookup_elem(&cgroup_policy, &id);
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(on_cgroup_mkdir, struct cgroup *cgroup, const char *path)
{
	if (!(settings.policies & POLICY_CGROUPS))
		return 0;
	struct kernfs_node *node = BPF_CORE_READ(cgroup, kn);
	u64 parent = BPF_CORE_READ(kernfs_parent(node), id), id = BPF_CORE_READ(node, id);
	// Numbers of another hierarchy mean something else.
	struct cgroup *own = cgroup_of(bpf_get_current_task_btf());
	u32 one = 1;
	if (BPF_CORE_READ(own, root) == BPF_CORE_READ(cgroup, root) && bpf_map_lookup_elem(&cgroup_policy, &parent))
		bpf_map_update_elem(&cgroup_policy, &id, &one, 0);
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(on_cgroup_rmdir, struct cgroup *cgroup, const char *path)
{
	if (!(settings.policies & POLICY_CGROUPS))
		return 0;
	u64 id = BPF_CORE_READ(cgroup, kn, id);
	struct cgroup *own = cgroup_of(bpf_get_current_task_btf());
	if (BPF_CORE_READ(own, root) == BPF_CORE_READ(cgroup, root))
		bpf_map_delete_elem(&cgroup_policy, &id);
	return 0;
}
