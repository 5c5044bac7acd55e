package importer

import "slices"

// reaches reports whether a node of a kind can be reached.
func reaches(from *n8nNode, kind string, without map[*n8nNode]bool) bool {
	for n := range reach(from, without) {
		if n.kind == kind {
			return true
		}
	}
	return false
}

// reach returns the nodes that can be reached from a node, with itself, but not
// through some others.
func reach(from *n8nNode, without map[*n8nNode]bool) map[*n8nNode]bool {
	seen := map[*n8nNode]bool{from: true}
	list := []*n8nNode{from}
	for len(list) > 0 {
		n := list[0]
		list = list[1:]
		for _, output := range n.outputs {
			for _, t := range output {
				if !seen[t] && !without[t] {
					seen[t] = true
					list = append(list, t)
				}
			}
		}
	}
	return seen
}

// join returns the first node at which at least two of some ways meet, or nil.
func (x *n8n) join(starts []*n8nNode, w *walk) *n8nNode {
	if len(starts) < 2 || len(starts) > 50 {
		return nil
	}
	count := map[*n8nNode]int{}
	for _, s := range starts {
		for n := range reach(s, w.path) {
			count[n]++
		}
	}
	seen := map[*n8nNode]bool{}
	list := slices.Clone(starts)
	for len(list) > 0 {
		n := list[0]
		list = list[1:]
		if seen[n] || w.path[n] {
			continue
		}
		seen[n] = true
		if count[n] > 1 {
			return n
		}
		for _, output := range n.outputs {
			list = append(list, output...)
		}
	}
	return nil
}
