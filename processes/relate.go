package processes

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"sort"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/fault"
	"valence/internal/spec"
)

// digest names a content.
type digest [sha256.Size]byte

// digestOf names what a YAML value says, not how it is written.
func digestOf(n *yaml.Node) digest { return sha256.Sum256(appendContent(make([]byte, 0, 1<<10), n)) }

// fingerprint names a step as written.
func fingerprint(n *yaml.Node) string {
	d := digestOf(n)
	return hex.EncodeToString(d[:16])
}

// appendContent writes a value in a form that no other value has.
func appendContent(dst []byte, n *yaml.Node) []byte {
	switch shape := spec.ShapeOf(n); shape {
	case spec.MapShape:
		dst = append(dst, '{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			dst = appendContent(appendText(dst, 'k', n.Content[i].Value), n.Content[i+1])
		}
		return append(dst, '}')
	case spec.ListShape:
		dst = append(dst, '[')
		for _, e := range n.Content {
			dst = appendContent(dst, e)
		}
		return append(dst, ']')
	case spec.NullShape:
		return append(dst, '0')
	default:
		return appendText(dst, byte(shape), n.Value)
	}
}

func appendText(dst []byte, kind byte, s string) []byte {
	return append(binary.BigEndian.AppendUint64(append(dst, kind), uint64(len(s))), s...)
}

// hashes names the content of every process: its own, the hashes of what it
// waits for, and the profiles that it uses.
func (l *loader) hashes() {
	for _, b := range l.processes {
		l.hash(b)
	}
}

func (l *loader) hash(b *building) string {
	if b.hashed {
		return b.proc.Hash // "" within a circle, which is an error
	}
	b.hashed = true
	var called []string
	for _, c := range b.proc.Calls {
		if !c.Handoff && l.building(c.Process) != nil {
			called = append(called, c.Process)
		}
	}
	sort.Strings(called)
	content := append([]byte(nil), b.content[:]...)
	for i, name := range called {
		if i == 0 || called[i-1] != name {
			content = appendText(appendText(content, 'p', name), 'c', l.hash(l.building(name)))
		}
	}
	profiles := append([]string(nil), b.profiles...)
	sort.Strings(profiles)
	for i, name := range profiles {
		if p := l.project.Profiles[name]; p != nil && (i == 0 || profiles[i-1] != name) {
			content = appendText(appendText(content, 's', p.Name), 'h', p.Hash)
		}
	}
	sum := sha256.Sum256(content)
	b.proc.Hash = hex.EncodeToString(sum[:16])
	return b.proc.Hash
}

func (l *loader) building(name string) *building { return l.byName[name] }

// listeners reports listeners that take the same requests.
func (l *loader) listeners() {
	taken := requests{}
	for _, b := range l.processes {
		if problem := taken.take(b.proc); problem != nil {
			l.problems = append(l.problems, problem)
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
