package steps

import "valence/processes"

// Resumes reports whether a process, or one that it calls and waits for, may send
// the signal of a wait. find returns the process with a name, nil if there is none.
func Resumes(p *processes.Process, wait string, find func(name string) *processes.Process) bool {
	return resumes(p, wait, find, map[*processes.Process]bool{})
}

func resumes(p *processes.Process, wait string, find func(string) *processes.Process, seen map[*processes.Process]bool) bool {
	if p == nil || seen[p] {
		return false
	}
	seen[p] = true
	if resumesIn(p.Steps, wait) {
		return true
	}
	for _, c := range p.Calls {
		if !c.Handoff && resumes(find(c.Process), wait, find, seen) {
			return true
		}
	}
	return false
}

func resumesIn(block processes.Block, wait string) bool {
	for _, s := range block {
		if r, ok := s.Settings.(*resume); ok && r.Name == wait {
			return true
		}
		for _, l := range s.Lists {
			if resumesIn(l.Steps, wait) {
				return true
			}
		}
	}
	return false
}
