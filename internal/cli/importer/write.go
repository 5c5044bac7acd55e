package importer

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

const schemaLine = "# yaml-language-server: $schema=./schema.json\n"

// maxRounds limits how often a project is checked. Each round replaces all steps
// in which the one before has found errors.
const maxRounds = 8

// finish returns the files of the project. Steps in which lint finds errors
// become TODOs.
func (r *reader) finish(lint Linter) ([]File, error) {
	var problems []Problem
	for range maxRounds {
		for _, p := range r.processes {
			r.rethrow(p.steps)
		}
		files := r.files()
		if problems = lint(files); len(problems) == 0 {
			for _, f := range files {
				r.report.Files = append(r.report.Files, f.Name)
			}
			return files, nil
		}
		if !r.repair(files, problems) {
			break
		}
	}
	p := problems[0]
	return nil, fmt.Errorf("%s: the project would not pass lint: %s:%d: %s", r.file, p.File, p.Line, p.Msg)
}

func (r *reader) files() []File {
	var files []File
	for _, p := range r.processes {
		files = append(files, File{p.name + ".yaml", schemaLine + encode(p.node())})
	}
	if r.guard {
		files = append(files, File{missing + ".yaml", schemaLine + guard})
	}
	return slices.Concat(files, joined("connections.yaml", r.connections), joined("auth.yaml", r.auths))
}

// joined returns the file with some components, if there are any.
func joined(name string, list []component) []File {
	var texts []string
	for _, c := range list {
		texts = append(texts, encode(c.node))
	}
	if len(texts) == 0 {
		return nil
	}
	return []File{{name, schemaLine + strings.Join(texts, "---\n")}}
}

// guard is the process that stands for missing parts.
const guard = `process: not-imported
description: Fails, in place of a part that has no counterpart. Delete it when no TODO is left.
steps:
  - throw: "not imported: ${props.part}"
    code: not_imported
`

func (p *process) node() *yaml.Node {
	n := mapping("process", p.name)
	if p.description != "" {
		set(n, "description", literal(shorten(printable(p.description), 300)))
	}
	n.Content = append(n.Content, p.keys...)
	set(n, "steps", p.steps)
	comment(n, p.comments...)
	return n
}

// repair replaces the steps that have problems. It reports whether it replaced
// any.
func (r *reader) repair(files []File, problems []Problem) bool {
	lines := map[string][]Problem{}
	for _, p := range problems {
		lines[p.File] = append(lines[p.File], p)
	}
	replaced := false
	for _, p := range r.processes {
		name := p.name + ".yaml"
		for _, f := range files {
			if f.Name != name || len(lines[name]) == 0 {
				continue
			}
			var written yaml.Node
			if yaml.Unmarshal([]byte(f.Text), &written) != nil || len(written.Content) != 1 {
				continue
			}
			for _, problem := range lines[name] {
				if problem.Code == "missing-reply" {
					replaced = r.withoutOutput(p) || replaced
					continue
				}
				if r.replace(child(written.Content[0], "steps"), p.steps, problem) || r.dropTrigger(p, problem) {
					replaced = true
				}
			}
		}
	}
	return replaced
}

// withoutOutput lets a listener acknowledge at once, because a path of its
// process has no reply.
func (r *reader) withoutOutput(p *process) bool {
	for i := 0; i+1 < len(p.keys); i += 2 {
		listen := p.keys[i+1]
		for j := 0; p.keys[i].Value == "listen" && j+1 < len(listen.Content); j += 2 {
			if listen.Content[j].Value == "output" {
				listen.Content = slices.Delete(listen.Content, j, j+2)
				if timeout := slices.IndexFunc(listen.Content, func(n *yaml.Node) bool { return n.Value == "timeout" }); timeout >= 0 {
					listen.Content = slices.Delete(listen.Content, timeout, timeout+2)
				}
				p.comments = append(p.comments, r.leftAt(p.trigger.place, p.trigger.part+": reply", "some path has none, so callers are acknowledged at once"))
				return true
			}
		}
	}
	return false
}

// rethrow lets the failures of missing parts through the catch of a step.
func (r *reader) rethrow(steps []*yaml.Node) {
	for _, s := range steps {
		try, catch := child(s, "try"), child(child(s, "catch"), "steps")
		if try != nil && catch != nil && fails(try) && (len(catch.Content) == 0 || child(catch.Content[0], "if") == nil || child(catch.Content[0], "if").Value != notImported) {
			again := mapping("throw", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"})
			again = mapping("if", notImported, "then", []*yaml.Node{again})
			r.origins[again] = r.origins[s]
			catch.Content = append([]*yaml.Node{again}, catch.Content...)
		}
		r.rethrow(s.Content)
	}
}

const notImported = `${error.code == "not_imported"}`

// fails reports whether a step for a missing part is in a tree.
func fails(n *yaml.Node) bool {
	if p := child(n, "process"); p != nil && p.Value == missing {
		return true
	}
	return slices.ContainsFunc(n.Content, fails)
}

// dropTrigger removes a trigger that has a problem.
func (r *reader) dropTrigger(p *process, problem Problem) bool {
	if len(p.keys) == 0 {
		return false
	}
	p.keys = nil
	why := "it has no exact counterpart: " + problem.Msg
	r.report.undo(p.trigger.place, p.trigger.part, why)
	p.comments = append(p.comments, "TODO: "+p.trigger.place+": "+p.trigger.part+": "+why)
	return true
}

// replace turns the innermost step at a line into a TODO.
func (r *reader) replace(written *yaml.Node, list []*yaml.Node, problem Problem) bool {
	if written == nil || written.Kind != yaml.SequenceNode || len(written.Content) != len(list) {
		return false
	}
	at := -1
	for i, e := range written.Content {
		if e.Line <= problem.Line {
			at = i
		}
	}
	if at < 0 {
		return false
	}
	step := list[at]
	if r.replaceWithin(written.Content[at], step, problem) {
		return true
	}
	from, ok := r.origins[step]
	if !ok {
		return false
	}
	why := "it has no exact counterpart: " + problem.Msg
	r.report.undo(from.place, from.part, why)
	if child(step, "reply") != nil && at == len(list)-1 { // the path must end here
		failed := mapping("throw", literal("not imported: "+shorten(from.part+" of "+from.place, 200)), "code", "not_imported")
		comment(failed, "TODO: "+from.place+": "+from.part+": "+why)
		r.origins[step] = origin{}
		*step = *failed
		return true
	}
	*step = *r.failing(from.place, from.part, why)
	return true
}

func (r *reader) replaceWithin(written, step *yaml.Node, problem Problem) bool {
	for i := 0; i < len(written.Content) && len(written.Content) == len(step.Content); i++ {
		w, s := written.Content[i], step.Content[i]
		if w.Kind == yaml.ScalarNode || !within(w, problem.Line) {
			continue
		}
		if w.Kind == yaml.SequenceNode && r.isSteps(s) {
			if r.replace(w, s.Content, problem) {
				return true
			}
			continue
		}
		if r.replaceWithin(w, s, problem) {
			return true
		}
	}
	return false
}

// within reports whether a line is in the text of a node.
func within(n *yaml.Node, line int) bool {
	last := n
	for len(last.Content) > 0 {
		last = last.Content[len(last.Content)-1]
	}
	return len(n.Content) > 0 && n.Content[0].Line <= line && line <= last.Line
}

func (r *reader) isSteps(n *yaml.Node) bool {
	for _, e := range n.Content {
		if _, ok := r.origins[e]; ok {
			return true
		}
	}
	return false
}

// undo changes a part that was taken over to a TODO.
func (r *Report) undo(place, part, why string) {
	for i := range r.Parts {
		if p := &r.Parts[i]; p.Place == place && p.Status == TakenOver && p.Part == printable(shorten(part, 160)) {
			p.Status, p.As, p.Why = Todo, "", printable(shorten(why, 240))
			return
		}
	}
	r.add(Part{Place: place, Part: part, Status: Todo, Why: why})
}
