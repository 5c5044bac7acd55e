package processes

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"sort"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/fault"
	"valence/internal/spec"
)

// digest names a content.
type digest [sha256.Size]byte

// digestOf names what a YAML value says, not how it is written.
func digestOf(n *yaml.Node) digest {
	h := sha256.New()
	write(h, n)
	var d digest
	h.Sum(d[:0])
	return d
}

// fingerprint names a step as written.
func fingerprint(n *yaml.Node) string {
	d := digestOf(n)
	return hex.EncodeToString(d[:16])
}

// write feeds a value in a form that no other value has.
func write(h hash.Hash, n *yaml.Node) {
	switch shape := spec.ShapeOf(n); shape {
	case spec.MapShape:
		for i := 0; i+1 < len(n.Content); i += 2 {
			writeText(h, 'k', n.Content[i].Value)
			write(h, n.Content[i+1])
		}
		h.Write([]byte{'}'})
	case spec.ListShape:
		h.Write([]byte{'['})
		for _, e := range n.Content {
			write(h, e)
		}
		h.Write([]byte{']'})
	case spec.NullShape:
		h.Write([]byte{'0'})
	default:
		writeText(h, byte(shape), n.Value)
	}
}

func writeText(h hash.Hash, kind byte, s string) {
	var head [9]byte
	head[0] = kind
	binary.BigEndian.PutUint64(head[1:], uint64(len(s)))
	h.Write(head[:])
	h.Write([]byte(s))
}

// hashes names the content of every process: its own, what it waits for, and
// the profiles that either uses.
func (l *loader) hashes() {
	for _, b := range l.processes {
		reached := map[string]*building{}
		l.reached(b, reached)
		names := make([]string, 0, len(reached))
		for name := range reached {
			names = append(names, name)
		}
		sort.Strings(names)
		h := sha256.New()
		h.Write(b.content[:])
		var profiles []string
		for _, name := range names {
			r := reached[name]
			writeText(h, 'p', name)
			h.Write(r.content[:])
			profiles = append(profiles, r.profiles...)
		}
		sort.Strings(profiles)
		for i, name := range profiles {
			if p := l.project.Profiles[name]; p != nil && (i == 0 || profiles[i-1] != name) {
				writeText(h, 's', p.Name)
				writeText(h, 'h', p.Hash)
			}
		}
		b.proc.Hash = hex.EncodeToString(h.Sum(nil)[:16])
	}
}

// reached collects a process and those that it waits for.
func (l *loader) reached(b *building, into map[string]*building) {
	if into[b.proc.Name] != nil {
		return
	}
	into[b.proc.Name] = b
	for _, c := range b.proc.Calls {
		if next := l.building(c.Process); next != nil && !c.Handoff {
			l.reached(next, into)
		}
	}
}

func (l *loader) building(name string) *building { return l.byName[name] }

// listeners reports listeners that take the same requests.
func (l *loader) listeners() {
	type taken struct{ process, pos string }
	seen := map[string]taken{}
	for _, b := range l.processes {
		if b.proc.Listen == nil || b.proc.Listen.Path == "" {
			continue
		}
		shape := shapeOf(b.proc.Listen.Path)
		for _, m := range b.proc.Listen.Methods {
			key := m + " " + shape
			if first, ok := seen[key]; ok && first.process != b.proc.Name {
				l.report(nil, b.proc.Listen.Pos, CodeDuplicateListen, m+" "+b.proc.Listen.Path+" is taken by the process `"+first.process+"` at "+first.pos, "change the path or the method of one of them")
				break
			}
			seen[key] = taken{b.proc.Name, b.proc.Listen.Pos.String()}
		}
	}
}

// shapeOf gives a path without the names of its captures.
func shapeOf(p string) string {
	segs := strings.Split(p, "/")
	for i, s := range segs {
		if strings.HasPrefix(s, "{") {
			segs[i] = "{}"
		}
	}
	return strings.Join(segs, "/")
}

// cycles reports processes that call each other in a circle: an error where
// each waits for the next, a warning where a hand-off is among them.
func (l *loader) cycles() {
	for _, waits := range []bool{true, false} {
		state := map[string]int{} // 1 on the way, 2 done
		var way []string
		var visit func(b *building)
		visit = func(b *building) {
			name := b.proc.Name
			state[name] = 1
			way = append(way, name)
			for _, c := range b.proc.Calls {
				next := l.building(c.Process)
				if next == nil || waits && c.Handoff {
					continue
				}
				switch state[c.Process] {
				case 0:
					visit(next)
				case 1:
					l.cycle(c, way, waits)
				}
			}
			way = way[:len(way)-1]
			state[name] = 2
		}
		for _, b := range l.processes {
			if state[b.proc.Name] == 0 {
				visit(b)
			}
		}
	}
}

// cycle reports the circle that a call closes.
func (l *loader) cycle(c ProcessCall, way []string, waits bool) {
	from := len(way) - 1
	for way[from] != c.Process {
		from--
	}
	circle := strings.Join(append(append([]string(nil), way[from:]...), c.Process), " → ")
	if waits {
		l.report(nil, c.Pos, CodeCallCycle, "processes call each other in a circle: "+circle, "use `for_each` or `repeat`, or `mode: handoff` where nobody has to wait")
		return
	}
	if l.onlyWaits(way[from:], c) {
		return // reported as an error
	}
	l.problems = append(l.problems, &fault.Problem{Pos: c.Pos, Severity: fault.Warning, Code: CodeHandoffCycle,
		Msg: "processes hand off to each other in a circle: " + circle, Hint: "make sure that it ends: each round is an execution of its own"})
}

func (l *loader) onlyWaits(circle []string, closing ProcessCall) bool {
	if closing.Handoff {
		return false
	}
	for i := 0; i+1 < len(circle); i++ {
		waits := false
		for _, c := range l.building(circle[i]).proc.Calls {
			waits = waits || c.Process == circle[i+1] && !c.Handoff
		}
		if !waits {
			return false
		}
	}
	return true
}
