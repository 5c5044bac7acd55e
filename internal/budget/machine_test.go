package budget

import (
	"testing"
	"testing/fstest"
)

func TestMachine(t *testing.T) {
	const memory = "MemTotal:        8388608 kB\nMemFree: 1 kB\n"
	for _, test := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"nothing is known", nil, fallbackMemory},
		{"no control group", map[string]string{"proc/meminfo": memory}, 8 << 30},
		{"version 2", map[string]string{"proc/meminfo": memory, "proc/self/cgroup": "0::/system.slice/valence.service\n",
			"sys/fs/cgroup/system.slice/valence.service/memory.max": "1073741824\n"}, 1 << 30},
		{"version 2, a group around it", map[string]string{"proc/meminfo": memory, "proc/self/cgroup": "0::/a/b\n",
			"sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "2147483648\n"}, 2 << 30},
		{"version 2, in a container", map[string]string{"proc/meminfo": memory, "proc/self/cgroup": "0::/\n",
			"sys/fs/cgroup/memory.max": "536870912\n"}, 512 << 20},
		{"version 1", map[string]string{"proc/meminfo": memory, "proc/self/cgroup": "3:cpu:/x\n2:memory:/x\n",
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes": "1073741824\n"}, 1 << 30},
		{"version 1 without a limit", map[string]string{"proc/meminfo": memory, "proc/self/cgroup": "2:memory:/x\n",
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes": "9223372036854771712\n"}, 8 << 30},
	} {
		files := fstest.MapFS{}
		for name, text := range test.files {
			files[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := machine(files); got != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got, test.want)
		}
	}
}
