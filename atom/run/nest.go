package run

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// nest sets the parents of steps and returns the steps in the order of reading:
// each step precedes those that ran in it, and the elements of a loop and the
// paths of a branch follow one another. Steps of one list keep their order.
func nest(views []StepView) []StepView {
	known := make(map[string]int, len(views))
	for i := range views {
		known[views[i].Path] = i
	}
	children := map[string][]int{}
	for i := range views {
		v := &views[i]
		v.Parent = parentOf(v.Path, known)
		children[v.Parent] = append(children[v.Parent], i)
	}
	out := make([]StepView, 0, len(views))
	var add func(parent string)
	add = func(parent string) {
		list := children[parent]
		delete(children, parent)
		ranks := map[string]int{}
		for _, i := range list {
			if g := listOf(views[i].Path); ranks[g] == 0 {
				ranks[g] = len(ranks) + 1
			}
		}
		slices.SortStableFunc(list, func(i, j int) int {
			a, b := views[i].Path, views[j].Path
			if parent == "" || ElementOf(a) == ElementOf(b) {
				return cmp.Compare(ranks[listOf(a)], ranks[listOf(b)])
			}
			return cmp.Compare(ElementOf(a), ElementOf(b))
		})
		for _, i := range list {
			out = append(out, views[i])
			add(views[i].Path)
		}
	}
	add("")
	return out
}

// splitKey splits the key of a step into the part before the steps of the called
// process, the path in that process and the indices of the loops: "3/", "2.steps.0"
// and "[17]" of "3/2.steps.0[17]".
func splitKey(key string) (prefix, path, iter string) {
	path = key
	if i := strings.LastIndexByte(key, '/'); i >= 0 {
		prefix, path = key[:i+1], key[i+1:]
	}
	if i := strings.IndexByte(path, '['); i >= 0 {
		path, iter = path[:i], path[i:]
	}
	return prefix, path, iter
}

// listOf returns the list of steps that a step is in.
func listOf(key string) string {
	prefix, path, iter := splitKey(key)
	return prefix + path[:strings.LastIndexByte(path, '.')+1] + iter
}

// ElementOf returns the index of the innermost loop around a step; -1 without one.
func ElementOf(key string) int {
	_, _, iter := splitKey(key)
	n, err := strconv.Atoi(strings.TrimSuffix(iter[strings.LastIndexByte(iter, '[')+1:], "]"))
	if err != nil {
		return -1
	}
	return n
}

// parentOf returns the path of the innermost known step that contains a step; ""
// if there is none.
func parentOf(key string, known map[string]int) string {
	prefix, path, iter := splitKey(key)
	for {
		for i := strings.LastIndexByte(path, '.'); i >= 0; i = strings.LastIndexByte(path, '.') {
			path = path[:i]
			for outer := iter; ; outer = outer[:strings.LastIndexByte(outer, '[')] {
				if _, ok := known[prefix+path+outer]; ok {
					return prefix + path + outer
				}
				if outer == "" {
					break
				}
			}
		}
		if prefix == "" {
			return ""
		}
		key = strings.TrimSuffix(prefix, "/")
		if _, ok := known[key]; ok {
			return key
		}
		prefix, path, iter = splitKey(key)
	}
}
