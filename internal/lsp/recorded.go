package lsp

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"valence/internal/lsp/yamltree"
)

// Atom names an atom; "" stands for the default.
type Atom struct {
	Data  string `json:"data"`  // its data folder
	Admin string `json:"admin"` // address of its admin API
}

// History returns the newest finished execution of a process that an atom has
// recorded; nil if there is none.
type History func(ctx context.Context, atom Atom, process string) (*Execution, error)

// Execution is a recorded execution. Its values are masked.
type Execution struct {
	ID    string
	At    time.Time
	Input json.RawMessage
	Props json.RawMessage
	Steps []ExecutedStep
}

// ExecutedStep is a step of a recorded execution.
type ExecutedStep struct {
	Path, Kind, Name string
	Document         json.RawMessage // that it made; nil: none
	Set              json.RawMessage // variables that it set; nil: none
}

// Limits of the recorded values that a hover shows.
const (
	historyWait    = 150 * time.Millisecond // of a hover; a slower answer serves the next one
	historyTimeout = 5 * time.Second
	historyFresh   = 5 * time.Second
	maxHistory     = 200 // processes
	maxValue       = 200 // bytes
	maxRecorded    = 4 << 20
)

// recordings caches the newest execution of each process. They are read in the
// background.
type recordings struct {
	read History // nil: no history is read
	atom Atom    // set before the first request

	mu   sync.Mutex
	last map[string]*recording // by process
}

type recording struct {
	execution *Execution
	at        time.Time     // when it was read
	reading   chan struct{} // closed at the end; nil: nothing is being read
}

// Read makes hovers show recorded values. Call it before Run. flags names the atom
// unless the client names one in its initialization options.
func (s *Server) Read(history History, flags Atom) {
	s.recordings.read, s.recordings.atom = history, flags
}

// execution returns the newest execution of a process, or nil. It waits for
// historyWait at most, and then returns the one that it knows.
func (s *Server) execution(ctx context.Context, process string) *Execution {
	r := &s.recordings
	if r.read == nil || process == "" {
		return nil
	}
	r.mu.Lock()
	if r.last == nil || len(r.last) > maxHistory {
		r.last = map[string]*recording{}
	}
	entry := r.last[process]
	if entry == nil {
		entry = &recording{}
		r.last[process] = entry
	}
	if entry.reading == nil && time.Since(entry.at) > historyFresh {
		done := make(chan struct{})
		entry.reading = done
		s.running.Go(func() {
			defer s.recovered("history", nil)
			s.refresh(process, entry, done)
		})
	}
	reading := entry.reading
	r.mu.Unlock()
	if reading != nil {
		wait := time.NewTimer(historyWait)
		defer wait.Stop()
		select {
		case <-reading:
		case <-wait.C:
		case <-ctx.Done():
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return entry.execution
}

// refresh reads the newest execution of a process. An atom that cannot be reached
// is no error: it may not run.
func (s *Server) refresh(process string, entry *recording, done chan struct{}) {
	ctx, cancel := context.WithTimeout(s.ctx, historyTimeout)
	defer cancel()
	x, err := s.recordings.read(ctx, s.recordings.atom, process)
	s.recordings.mu.Lock()
	defer s.recordings.mu.Unlock()
	if err == nil {
		entry.execution = x
	}
	entry.at, entry.reading = time.Now(), nil
	close(done)
}

// lastValue describes the last value of a path such as [doc total] at a node: as an
// atom recorded it, or else of a fixture; "" if none is known.
func (v *view) lastValue(ctx context.Context, n *yamltree.Node, path []string) string {
	first := component(root(n))
	if first == nil || first.Key != "process" {
		return ""
	}
	if x := v.s.execution(ctx, first.Value); x != nil {
		if value, ok := member(v.recordedDocument(x, first.Value, n, path)); ok {
			return "\n\nLast recorded value: " + shown(value) + " (execution " + x.ID + ", " + x.At.UTC().Format(time.RFC3339) + ")"
		}
	}
	if value, ok := member(v.fixtureOf(first.Value, n, path)); ok {
		return "\n\nValue in a test: " + shown(value)
	}
	return ""
}

// recordedDocument returns the document that a path reads in an execution, and the
// rest of the path.
func (v *view) recordedDocument(x *Execution, process string, n *yamltree.Node, path []string) (json.RawMessage, []string) {
	switch path[0] {
	case "doc":
		step, isInput := v.madeBy(process, n)
		if isInput {
			return x.Input, path[1:]
		}
		return x.made(step, v.s.stepKind(step)), path[1:]
	case "input":
		return x.Input, path[1:]
	case "props":
		return x.Props, path[1:]
	case "steps", "vars":
		if len(path) < 2 {
			return nil, nil
		}
		if step := v.named["process"][process].producer(path[0], path[1]); step != nil {
			return x.made(step, v.s.stepKind(step)), path[2:]
		}
		for _, s := range slices.Backward(x.Steps) {
			if value, ok := member(s.Set, path[1:2]); ok && path[0] == "vars" {
				text, err := json.Marshal(value)
				if err == nil {
					return text, path[2:]
				}
			}
		}
	}
	return nil, nil
}

// made returns the last document that a step made.
func (x *Execution) made(step *yamltree.Node, kind string) json.RawMessage {
	if step == nil {
		return nil
	}
	at, name := stepPath(step), step.Text("name")
	for _, s := range slices.Backward(x.Steps) {
		if s.Document != nil && s.Kind == kind && withoutLoops(s.Path) == at && s.Name == name {
			return s.Document
		}
	}
	return nil
}

// fixtureOf is recordedDocument for the fixtures of the tests.
func (v *view) fixtureOf(process string, n *yamltree.Node, path []string) (found json.RawMessage, rest []string) {
	var step *yamltree.Node
	isInput := path[0] == "input"
	rest = path[1:]
	switch path[0] {
	case "doc":
		step, isInput = v.madeBy(process, n)
	case "steps", "vars":
		if len(path) < 2 {
			return nil, nil
		}
		step, rest = v.named["process"][process].producer(path[0], path[1]), path[2:]
	}
	use := func(f file, at *yamltree.Node) {
		if _, ok := member(found, rest); ok || at == nil {
			return
		}
		value := exactData(at)
		if name := at.Text("file"); name != "" && len(at.Children) == 1 {
			value = v.readJSON(f, name)
		}
		if text, err := json.Marshal(value); err == nil {
			found = text
		}
	}
	v.tests(process, func(f file, setup *yamltree.Node) {
		switch {
		case isInput:
			use(f, setup.Entry("input"))
		case step != nil && v.s.stepKind(step) == "call":
			for _, name := range []string{step.Text("name"), step.Text("call")} {
				if mock := setup.Entry("mocks").Entry(name); name != "" && mock != nil {
					for _, answer := range append(mock.Items(), mock) {
						use(f, answer.Entry("reply"))
					}
				}
			}
		}
	})
	return found, rest
}

// madeBy returns the step that made doc at a node of a process. isInput is set if
// it is the input. Neither is known inside of a loop, in which doc is an element,
// and after a step whose lists make documents.
func (v *view) madeBy(process string, n *yamltree.Node) (step *yamltree.Node, isInput bool) {
	for ; n != nil; n = n.Parent {
		if !n.Item || v.s.stepKind(n) == "" {
			continue
		}
		for _, before := range slices.Backward(earlier(n)) {
			if v.makes(before) {
				return before, false
			}
			if v.makesInside(before) {
				return nil, false
			}
		}
		if loop := enclosing(n); loop != nil && loop.Entry("for_each") != nil {
			return nil, false
		}
	}
	return nil, true
}

// makesInside reports whether a step below another one makes a document.
func (v *view) makesInside(step *yamltree.Node) (found bool) {
	step.Walk(func(n *yamltree.Node) bool {
		found = found || n != step && n.Item && v.s.stepKind(n) != "" && v.makes(n)
		return !found
	})
	return found
}

// stepPath returns the path of a step in its process, such as 4.then.0.
func stepPath(step *yamltree.Node) string {
	var parts []string
	for n := step; n != nil; n = enclosing(n) {
		parts = append(parts, strconv.Itoa(slices.Index(n.Parent.Items(), n)))
		if enclosing(n) != nil {
			parts = append(parts, n.Parent.Key)
		}
	}
	slices.Reverse(parts)
	return strings.Join(parts, ".")
}

// withoutLoops returns a path without the indices of loops.
func withoutLoops(path string) string {
	var out strings.Builder
	for path != "" {
		before, rest, _ := strings.Cut(path, "[")
		out.WriteString(before)
		_, path, _ = strings.Cut(rest, "]")
	}
	return out.String()
}

// member returns the value at a path in a JSON text.
func member(text json.RawMessage, path []string) (any, bool) {
	if len(text) == 0 || len(text) > maxRecorded {
		return nil, false
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	var value any
	if d.Decode(&value) != nil {
		return nil, false
	}
	for _, name := range path {
		m, _ := value.(map[string]any)
		next, ok := m[name]
		if !ok {
			return nil, false
		}
		value = next
	}
	return value, true
}

// exactData is data with the numbers as they are written.
func exactData(n *yamltree.Node) any {
	if len(n.Children) == 0 {
		var value any
		d := json.NewDecoder(strings.NewReader(n.Value))
		if d.UseNumber(); d.Decode(&value) == nil && !d.More() && !strings.HasPrefix(n.Value, "\"") {
			return value
		}
		return data(n)
	}
	if items := n.Items(); len(items) > 0 {
		var out []any
		for _, e := range items {
			out = append(out, exactData(e))
		}
		return out
	}
	if len(n.Children) == 1 && n.Children[0].Key == "" {
		return exactData(n.Children[0])
	}
	out := map[string]any{}
	for _, c := range n.Children {
		if c.Key != "" {
			out[c.Key] = exactData(c)
		}
	}
	return out
}

// shown returns a value as code of one line.
func shown(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	s := strings.ReplaceAll(string(text), "`", "'")
	if len(s) > maxValue {
		s = strings.ToValidUTF8(s[:maxValue], "") + "…"
	}
	return "`" + s + "`"
}
