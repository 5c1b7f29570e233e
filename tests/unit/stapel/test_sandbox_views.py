from stapel.sandbox.inside.views import find_views

MOUNTS = rb"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:21 / /proc rw - proc proc rw
24 23 0:30 / /proc/sys/fs/binfmt_misc rw - binfmt_misc binfmt_misc rw
25 22 0:22 / /sys rw - sysfs sysfs rw
26 25 0:23 / /sys/fs/cgroup ro,nosuid shared:9 master:2 - tmpfs tmpfs ro,mode=755
27 26 0:24 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
28 26 0:25 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
29 26 0:26 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
35 26 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
30 26 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
31 25 0:7 / /sys/kernel/debug rw - debugfs debugfs rw
32 31 0:12 / /sys/kernel/debug/tracing rw - tracefs tracefs rw
33 22 0:40 / /data/debugfs\040-\040debugfs rw - xfs /dev/vdb rw
34 22 0:4 net:[4026532421] /run/netns/one rw - nsfs nsfs rw
"""


def test_views_of_the_kernel_are_found_innermost_first_and_what_is_needed_is_left():
    assert find_views(MOUNTS) == [
        b"/run/netns/one",
        b"/sys/kernel/debug/tracing",
        b"/sys/kernel/debug",
        b"/sys/fs/cgroup/systemd",
        b"/sys/fs/cgroup/pids",
        b"/proc/sys/fs/binfmt_misc",
    ]
