package lsp

import (
	"slices"
	"strings"

	"valence/connectors"
	"valence/internal/lsp/yamltree"
	"valence/internal/spec"
	"valence/processes"
	"valence/processes/language"
)

// shape is the declaration of a value: which keys, elements and values it may have.
type shape struct {
	fields []spec.Field                  // keys of a map
	info   *spec.Info                    // of a scalar, and for its documentation; may be nil
	item   func(n *yamltree.Node) *shape // of an element; nil if it is no list
	entry  func(key string) *shape       // of the value of a free key; nil if there are none
	names  func() []string               // of free keys; may be nil
	refine map[string]func() *shape      // of keys whose values package loader compiles
	kinds  bool                          // a step: the keys also select its kind
	first  bool                          // a document without its first key
	short  *spec.Info                    // of a scalar in place of a map; may be nil
	sent   func() []connectors.BodyKey   // keys of a body; nil if they are not known
}

// body returns the keys of an object in a body.
func (s *shape) body() []connectors.BodyKey {
	if s.sent == nil {
		return nil
	}
	return s.sent()
}

// bodyShape returns the shape of an object in the body of a call.
func bodyShape(info *spec.Info, op *connectors.Operation, path []string) *shape {
	return &shape{
		info: info,
		sent: func() []connectors.BodyKey { return op.Body(path) },
		item: func(*yamltree.Node) *shape { return bodyShape(info, op, path) },
		entry: func(key string) *shape {
			if strings.HasPrefix(key, "$") {
				return nil // a directive of the template
			}
			return bodyShape(info, op, append(slices.Clip(path), key))
		},
	}
}

// shapeOf returns the shape of a node, or nil if it is not declared. A node
// without a key has the shape of its parent.
func (v *view) shapeOf(n *yamltree.Node) *shape {
	if n.Parent == nil {
		return v.document(n)
	}
	p := v.shapeOf(n.Parent)
	switch {
	case p == nil:
		return nil
	case n.Item:
		if p.item == nil {
			return nil
		}
		return p.item(n)
	case n.Key == "":
		return p
	}
	if make := p.refine[n.Key]; make != nil {
		return make()
	}
	if info := spec.Find(p.fields, n.Key); info != nil {
		return v.value(info, n)
	}
	if p.entry != nil {
		return p.entry(n.Key)
	}
	return nil
}

// document returns the shape of a component.
func (v *view) document(doc *yamltree.Node) *shape {
	first := component(doc)
	if first == nil {
		return &shape{first: true}
	}
	fields := language.Kinds[first.Key].Fields
	s := &shape{fields: fields}
	switch first.Key {
	case "process":
		s.refine = map[string]func() *shape{"subscribe": func() *shape { return v.subscription(doc.Entry("subscribe")) }}
	case "connection":
		s.fields = slices.Concat(fields, processes.LimitFields)
		if c := v.s.catalog.Connectors[doc.Text("connector")]; c != nil {
			s.fields = slices.Concat(s.fields, c.Settings)
		}
	case "auth":
		if scheme := processes.AuthScheme(doc.Text("scheme")); scheme != nil {
			s.fields = slices.Concat(fields, language.SchemeFields(scheme))
		}
	case "environment":
		s.refine = map[string]func() *shape{"secrets": secrets, "connections": v.overrides}
	case "test":
		s.refine = v.setup(doc.Text("target"))
		s.refine["cases"] = func() *shape {
			return &shape{info: spec.Find(language.TestFields, "cases"), item: func(*yamltree.Node) *shape {
				return &shape{fields: language.CaseFields, refine: v.setup(doc.Text("target"))}
			}}
		}
	}
	return s
}

func (v *view) subscription(n *yamltree.Node) *shape {
	fields := language.SubscribeFields
	if c := v.connector(n.Text("connection")); c != nil && c.Subscription != nil {
		fields = slices.Concat(fields, c.Subscription.With)
	}
	return &shape{fields: fields, info: spec.Find(language.ProcessFields, "subscribe")}
}

func secrets() *shape {
	return &shape{info: spec.Find(language.EnvironmentFields, "secrets"), entry: func(string) *shape { return &shape{fields: language.SecretFields} }}
}

// overrides returns the shape of the connections of an environment.
func (v *view) overrides() *shape {
	return &shape{info: spec.Find(language.EnvironmentFields, "connections"), names: func() []string { return v.components("connection") }, entry: func(name string) *shape {
		fields := processes.LimitFields
		if c := v.connector(name); c != nil {
			fields = slices.Concat(fields, c.Settings)
		}
		return &shape{fields: fields}
	}}
}

// setup returns the shapes of the values that a test and its cases share.
func (v *view) setup(target string) map[string]func() *shape {
	return map[string]func() *shape{
		"mocks": func() *shape {
			answer := &shape{fields: language.AnswerFields, refine: map[string]func() *shape{"fail": func() *shape {
				return &shape{fields: language.FailureFields, info: spec.Find(language.AnswerFields, "fail")}
			}}}
			answer.item = func(*yamltree.Node) *shape { return answer }
			return &shape{info: spec.Find(language.TestFields, "mocks"), names: func() []string { return v.callNames(target, true) }, entry: func(string) *shape { return answer }}
		},
		"signals": func() *shape {
			return &shape{info: spec.Find(language.TestFields, "signals"), item: func(*yamltree.Node) *shape {
				return &shape{names: func() []string { return v.waitNames() }, entry: func(string) *shape { return &shape{fields: language.SignalFields} }}
			}}
		},
		"expect": func() *shape {
			return &shape{fields: language.ExpectFields, info: spec.Find(language.TestFields, "expect"), refine: map[string]func() *shape{"calls": func() *shape {
				return &shape{info: spec.Find(language.ExpectFields, "calls"), item: func(*yamltree.Node) *shape {
					return &shape{names: func() []string { return v.callNames(target, false) }, entry: func(string) *shape { return &shape{fields: language.ExpectedCallFields} }}
				}}
			}}}
		},
	}
}

// value returns the shape of the value of a declared key. n is its entry.
func (v *view) value(info *spec.Info, n *yamltree.Node) *shape {
	s := &shape{info: info}
	switch info.Kind {
	case spec.KindObject:
		s.fields = info.Fields
		if short := spec.Find(info.Fields, info.Short); short != nil {
			in := v.value(short, n)
			s.item = in.item
			s.short = short
		}
	case spec.KindObjects:
		s.item = func(*yamltree.Node) *shape { return &shape{fields: info.Fields} }
	case spec.KindSteps:
		s.item = v.step
	case spec.KindPaths:
		s.entry = func(string) *shape { return &shape{item: v.step} }
	case spec.KindTemplate:
		if op := v.operation(n.Parent.Text("call")); info.Key == "body" && op != nil && op.Body != nil {
			return bodyShape(info, op, nil)
		}
	case spec.KindRetry:
		s.fields = language.RetryFields
	case spec.KindWith:
		s.fields = language.CallOptionFields
		if op := v.operation(n.Parent.Text("call")); op != nil {
			s.fields = slices.Concat(op.With, s.fields)
		}
	case spec.KindStrings, spec.KindDurations, spec.KindAccept:
		s.item = func(*yamltree.Node) *shape { return &shape{info: info} }
	}
	return s
}

// step returns the shape of a step.
func (v *view) step(n *yamltree.Node) *shape {
	s := &shape{fields: language.StepFields, kinds: true}
	if kind := v.s.kind(v.s.stepKind(n)); kind != nil {
		s.fields = slices.Concat(kind.Fields, language.StepFields)
	}
	return s
}

// kind returns a kind of step, or nil.
func (s *Server) kind(name string) *processes.StepKind {
	for i := range s.catalog.Steps {
		if s.catalog.Steps[i].Kind == name {
			return &s.catalog.Steps[i]
		}
	}
	return nil
}

// components returns the names of the components of a kind, sorted.
func (v *view) components(kind string) []string {
	var names []string
	for name := range v.named[kind] {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// callNames returns the operations that a process calls; with named also the
// names of the steps that call them.
func (v *view) callNames(process string, named bool) []string {
	d := v.named["process"][process]
	if d == nil {
		return nil
	}
	seen := map[string]bool{}
	d.doc.Walk(func(n *yamltree.Node) bool {
		if n.Key == "call" && strings.Contains(n.Value, ".") {
			seen[n.Value] = true
			if step := n.Parent; named && step.Text("name") != "" {
				seen[step.Text("name")] = true
			}
		}
		return true
	})
	return sortedKeys(seen)
}

// waitNames returns the names of the waits of the project.
func (v *view) waitNames() []string {
	seen := map[string]bool{}
	for _, d := range v.named["process"] {
		d.doc.Walk(func(n *yamltree.Node) bool {
			if n.Key == "wait" && n.Value != "" {
				seen[n.Value] = true
			}
			return true
		})
	}
	return sortedKeys(seen)
}

func sortedKeys(set map[string]bool) []string {
	var out []string
	for k := range set {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
