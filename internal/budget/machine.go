package budget

import (
	"bufio"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

// fallbackMemory is assumed if the system does not report its memory.
const fallbackMemory = 2 << 30

// Machine returns the memory that this process may use: that of the machine, or
// the limit of its control groups if that is smaller.
func Machine() int64 { return machine(os.DirFS("/")) }

func machine(root fs.FS) int64 {
	most := int64(fallbackMemory)
	if kib, ok := field(root, "proc/meminfo", "MemTotal:"); ok {
		most = kib << 10
	}
	for _, file := range limitFiles(root) {
		b, err := fs.ReadFile(root, file)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n > 0 { // "max" is no limit
			most = min(most, n)
		}
	}
	return most
}

// limitFiles returns the files that may hold a memory limit: those of the
// control group of this process and of the groups around it, in version 2 and 1.
func limitFiles(root fs.FS) []string {
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return nil
	}
	var files []string
	for line := range strings.Lines(string(groups)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		dir, name := "sys/fs/cgroup", "memory.max"
		switch {
		case parts[1] == "":
		case strings.Contains(","+parts[1]+",", ",memory,"):
			dir, name = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		for group := path.Clean("/" + parts[2]); ; group = path.Dir(group) {
			files = append(files, path.Join(dir, group, name))
			if group == "/" {
				break
			}
		}
	}
	return files
}

// field returns the number after a label at the start of a line.
func field(root fs.FS, file, label string) (int64, bool) {
	f, err := root.Open(file)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if words := strings.Fields(lines.Text()); len(words) > 1 && words[0] == label {
			n, err := strconv.ParseInt(words[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
