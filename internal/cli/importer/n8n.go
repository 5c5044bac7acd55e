package importer

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// n8n reads workflows of n8n.
type n8n struct {
	*reader
	p       *process
	nodes   map[string]*n8nNode
	order   []*n8nNode
	named   map[string]string // names of steps by node
	used    map[string]bool   // nodes that expressions read
	waits   bool              // a caller waits for the reply
	trigger *n8nNode
	budget  int
}

// n8nNode is a node of a workflow.
type n8nNode struct {
	at       *yaml.Node
	name     string
	kind     string // without the name of its package
	version  float64
	disabled bool
	onError  string
	outputs  [][]*n8nNode
	visited  bool
	cause    *n8nNode // the node before it, whose output it reads
}

func readN8N(r *reader, roots []*yaml.Node) error {
	for _, root := range roots {
		list := []*yaml.Node{root}
		if root.Kind == yaml.SequenceNode {
			list = root.Content
		}
		for _, w := range list {
			x := &n8n{reader: r, nodes: map[string]*n8nNode{}, named: map[string]string{}, used: map[string]bool{}, budget: 20_000}
			if err := x.workflow(w); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxWorkflow is the number of nodes of the largest workflow.
const maxWorkflow = 1000

func (x *n8n) where(n *n8nNode) string {
	return fmt.Sprintf("%s: node %q", x.file, shorten(printable(n.name), 60))
}

// workflow reads one workflow.
func (x *n8n) workflow(w *yaml.Node) error {
	o := x.object(w, "workflow")
	if nodes := o.get("nodes"); len(elements(nodes)) > maxWorkflow {
		return fmt.Errorf("%s: the workflow has more than %d nodes", x.place(nodes), maxWorkflow)
	}
	for _, n := range elements(o.get("nodes")) {
		if err := x.addNode(n); err != nil {
			return err
		}
	}
	if err := x.connect(o.get("connections")); err != nil {
		return err
	}
	name := or(o.text("name"), baseName(x.file))
	for _, n := range x.order {
		if isTrigger(n) && !n.disabled {
			x.start(n, name)
		}
	}
	for _, n := range x.order {
		switch {
		case n.visited:
		case n.kind == "stickyNote":
			x.leftAt(x.where(n), "note", "not needed")
		case n.disabled:
			x.leftAt(x.where(n), n.kind, "the node is disabled")
		default:
			x.report.add(Part{Place: x.where(n), Part: n.kind, Status: Todo, Why: "no trigger leads to it; it is not in the project"})
		}
	}
	o.rest("active", "id", "meta", "versionId", "pinData", "tags", "staticData", "createdAt", "updatedAt", "triggerCount", "isArchived", "shared", "homeProject", "settings", "description")
	return nil
}

func (x *n8n) addNode(n *yaml.Node) error {
	name, kind := child(n, "name"), child(n, "type")
	if name == nil || kind == nil || name.Kind != yaml.ScalarNode {
		return fmt.Errorf("%s: a node has no name or no type", x.place(n))
	}
	if x.nodes[name.Value] != nil {
		return fmt.Errorf("%s: two nodes have the name %q", x.place(n), shorten(name.Value, 60))
	}
	e := &n8nNode{at: n, name: name.Value, kind: kind.Value[strings.LastIndexByte(kind.Value, '.')+1:], version: 1}
	if v := child(n, "typeVersion"); v != nil {
		_, _ = fmt.Sscanf(v.Value, "%g", &e.version)
	}
	e.disabled = child(n, "disabled") != nil && child(n, "disabled").Value == "true"
	if v := child(n, "onError"); v != nil {
		e.onError = v.Value
	} else if v := child(n, "continueOnFail"); v != nil && v.Value == "true" {
		e.onError = "continueRegularOutput"
	}
	for _, m := range nodeRead.FindAllStringSubmatch(encode(n), -1) {
		x.used[strings.ReplaceAll(or(m[1], m[2]), "''", "'")] = true
	}
	x.nodes[e.name] = e
	x.order = append(x.order, e)
	return nil
}

// connect reads the connections of the main outputs.
func (x *n8n) connect(connections *yaml.Node) error {
	for i := 0; connections != nil && connections.Kind == yaml.MappingNode && i+1 < len(connections.Content); i += 2 {
		from := x.nodes[connections.Content[i].Value]
		if from == nil {
			x.left(connections.Content[i], "connection from "+connections.Content[i].Value, "there is no such node")
			continue
		}
		outputs := child(connections.Content[i+1], "main")
		for _, output := range elements(outputs) {
			var targets []*n8nNode
			for _, c := range elements(output) {
				if to := child(c, "node"); to != nil && x.nodes[to.Value] != nil {
					targets = append(targets, x.nodes[to.Value])
				} else {
					x.left(c, "connection of "+from.name, "there is no such node")
				}
			}
			from.outputs = append(from.outputs, targets)
		}
	}
	return nil
}

func isTrigger(n *n8nNode) bool {
	return n.kind == "webhook" || n.kind == "start" || n.kind == "cron" || n.kind == "interval" || strings.HasSuffix(strings.ToLower(n.kind), "trigger") || n.kind == "emailReadImap"
}

// start translates a trigger and the nodes after it to a process.
func (x *n8n) start(n *n8nNode, name string) {
	if x.p != nil {
		name += " " + n.name
	}
	p := x.process(name)
	p.description = "Imported from " + filepath.Base(x.file)
	x.p, x.trigger, x.waits = p, n, false
	n.visited = true
	part := n.kind
	p.trigger = origin{x.where(n), part}
	o := x.object(child(n.at, "parameters"), part)
	if err := x.readTrigger(n, o, part); err != nil {
		why := err.Error() + "; the process has no trigger"
		x.report.add(Part{Place: x.where(n), Part: part, Status: Todo, Why: why})
		p.comments = append(p.comments, "TODO: "+x.where(n)+": "+part+": "+why)
	} else {
		x.restOf(n, o, p)
	}
	w := &walk{stop: map[*n8nNode]bool{}, path: map[*n8nNode]bool{n: true}}
	steps := x.after(n, 0, w)
	if x.waits {
		steps = x.replying(n, part, steps)
	}
	p.steps = x.nonEmpty(n, part, steps)
}

// restOf reports the parameters of a trigger that were not read.
func (x *n8n) restOf(n *n8nNode, o *object, p *process) {
	if o.node == nil {
		return
	}
	for i := 0; i+1 < len(o.node.Content); i += 2 {
		if key := o.node.Content[i]; !o.read[key.Value] && len(o.node.Content[i+1].Content)+len(o.node.Content[i+1].Value) > 0 {
			c := x.leftAt(x.where(n), n.kind+": "+key.Value, "no counterpart")
			if p != nil {
				p.comments = append(p.comments, c)
			}
		}
	}
}

func (x *n8n) help(n *n8nNode, part string, keysAndValues ...any) *yaml.Node {
	step := mapping(keysAndValues...)
	x.origins[step] = origin{x.where(n), part}
	return step
}

func (x *n8n) nonEmpty(n *n8nNode, part string, steps []*yaml.Node) []*yaml.Node {
	if len(steps) > 0 {
		return steps
	}
	return []*yaml.Node{x.help(n, part, "log", "nothing to do")}
}

// ends reports whether some steps reply, fail or stop on every path.
func ends(steps []*yaml.Node) bool {
	return slices.ContainsFunc(steps, func(s *yaml.Node) bool {
		switch {
		case child(s, "reply") != nil, child(s, "throw") != nil, child(s, "stop") != nil:
			return true
		case child(s, "if") != nil && child(s, "else") != nil:
			return ends(child(s, "then").Content) && ends(child(s, "else").Content)
		}
		return false
	})
}

// replying returns steps of which every path replies.
func (x *n8n) replying(n *n8nNode, part string, steps []*yaml.Node) []*yaml.Node {
	if ends(steps) {
		return steps
	}
	if len(steps) > 0 {
		last := steps[len(steps)-1]
		add := func(list *yaml.Node) { list.Content = x.replying(n, part, list.Content) }
		if child(last, "if") != nil {
			add(child(last, "then"))
			if child(last, "else") == nil {
				set(last, "else", []*yaml.Node{})
			}
			add(child(last, "else"))
			return steps
		}
		if cases := child(last, "cases"); cases != nil {
			for i := 1; i < len(cases.Content); i += 2 {
				add(cases.Content[i])
			}
			if child(last, "default") == nil {
				set(last, "default", []*yaml.Node{})
			}
			add(child(last, "default"))
			return steps
		}
	}
	return append(steps, x.help(n, part, "reply", "${doc}"))
}

// walk is the state of the way through the nodes.
type walk struct {
	stop  map[*n8nNode]bool // nodes at which another walk continues
	path  map[*n8nNode]bool // nodes on the way
	depth int
	loop  bool // inside a loop or a path, in which there are no replies
}

func (w *walk) inside() *walk {
	out := w.with(nil)
	out.loop = true
	return out
}

func (w *walk) with(n *n8nNode, stop ...*n8nNode) *walk {
	out := &walk{stop: map[*n8nNode]bool{}, path: map[*n8nNode]bool{}, depth: w.depth + 1, loop: w.loop}
	for s := range w.stop {
		out.stop[s] = true
	}
	for s := range w.path {
		out.path[s] = true
	}
	for _, s := range stop {
		if s != nil {
			out.stop[s] = true
		}
	}
	if n != nil {
		out.path[n] = true
	}
	return out
}

// after translates the nodes after an output of a node.
func (x *n8n) after(n *n8nNode, output int, w *walk) []*yaml.Node {
	if output >= len(n.outputs) {
		return nil
	}
	targets := n.outputs[output]
	if len(targets) == 1 {
		return x.chain(n, targets[0], w)
	}
	if len(targets) == 0 {
		return nil
	}
	join := x.join(targets, w)
	inline := slices.ContainsFunc(targets, func(t *n8nNode) bool { return reaches(t, "respondToWebhook", w.path) })
	var steps []*yaml.Node
	paths := mapping()
	original := variable("output of " + n.name)
	if inline {
		steps = append(steps, x.help(n, n.kind, "set", mapping(original, "${doc}")))
	}
	for i, t := range targets {
		if t == join {
			continue
		}
		inner := w.with(n, join)
		inner.loop = inner.loop || !inline
		path := x.chain(n, t, inner)
		if !inline {
			set(paths, fmt.Sprintf("path_%d", i+1), x.nonEmpty(t, t.kind, path))
			continue
		}
		if i > 0 {
			steps = append(steps, x.help(n, n.kind, "map", "${vars."+original+"}"))
		}
		steps = append(steps, path...)
	}
	if len(paths.Content) > 0 {
		steps = append(steps, x.help(n, n.kind, "branch", paths, "sequential", true))
	}
	if join != nil && !w.stop[join] {
		steps = append(steps, x.todoAt(x.where(join), join.kind, "several paths meet here; read their results from the document"))
		join.visited = true
		steps = append(steps, x.after(join, 0, w.with(join))...)
	}
	return steps
}

// chain translates a node and the ones after it.
func (x *n8n) chain(before, n *n8nNode, w *walk) []*yaml.Node {
	if w.stop[n] {
		return nil
	}
	if w.path[n] {
		return []*yaml.Node{x.todoAt(x.where(before), "connection to "+n.name, "the workflow goes back to an earlier node")}
	}
	if x.budget--; x.budget < 0 || w.depth > 500 {
		return []*yaml.Node{x.todoAt(x.where(n), n.kind, "there are too many nodes, or paths that meet again")}
	}
	if n.visited && n.kind != "noOp" && n.cause != nil {
		return []*yaml.Node{x.todoAt(x.where(n), n.kind, "several paths lead to the node; move it to a process of its own")}
	}
	n.visited, n.cause = true, before
	for before.disabled || before.kind == "noOp" {
		if before.cause == nil {
			break
		}
		before = before.cause
	}
	if !n.disabled && n.kind != "noOp" {
		n.cause = before
	}
	w = w.with(n)
	if n.disabled {
		x.leftAt(x.where(n), n.kind, "the node is disabled")
		return x.after(n, 0, w)
	}
	part := n.kind
	o := x.object(child(n.at, "parameters"), part)
	switch n.kind {
	case "if":
		return x.ifNode(n, o, w)
	case "switch":
		return x.switchNode(n, o, w)
	case "filter":
		return x.filterNode(n, o, w)
	case "splitInBatches":
		return x.loopNode(n, w)
	case "splitOut", "itemLists":
		field := o.text("fieldToSplitOut")
		if n.kind == "splitOut" || o.text("operation") == "" || o.text("operation") == "splitOutItems" {
			in := path(value{text: "doc"}, field).text
			steps := x.nonEmpty(n, part, x.after(n, 0, w.inside()))
			return []*yaml.Node{x.stepAt(x.where(n), part, nil, "for_each", "${"+in+"}", "steps", steps)}
		}
	}
	steps, err := x.node(n, o, part)
	if err != nil {
		steps = []*yaml.Node{x.todoAt(x.where(n), part, err.Error())}
	} else if len(steps) > 0 {
		x.restComments(n, o, steps[0])
		if x.used[n.name] && child(steps[0], "name") == nil && (child(steps[0], "call") != nil || child(steps[0], "map") != nil) {
			name := x.stepName(n)
			steps[0].Content = append([]*yaml.Node{text("name"), text(name)}, steps[0].Content...)
			x.named[n.name] = name
		}
		steps = x.failure(n, part, steps, w)
	}
	if n.kind == "respondToWebhook" && len(n.outputs) == 0 || n.kind == "stopAndError" {
		return steps
	}
	return append(steps, x.after(n, 0, w)...)
}

func (x *n8n) stepName(n *n8nNode) string {
	name := variable(n.name)
	for _, other := range x.named {
		if other == name {
			return fmt.Sprintf("%s_%d", name, len(x.named)+1)
		}
	}
	return name
}

func (x *n8n) restComments(n *n8nNode, o *object, step *yaml.Node) {
	if o.node == nil {
		return
	}
	for i := 0; i+1 < len(o.node.Content); i += 2 {
		if key := o.node.Content[i]; !o.read[key.Value] && len(o.node.Content[i+1].Content)+len(o.node.Content[i+1].Value) > 0 {
			comment(step, x.leftAt(x.where(n), n.kind+": "+key.Value, "no counterpart"))
		}
	}
}

// failure continues after a failure of a node, if the workflow does so.
func (x *n8n) failure(n *n8nNode, part string, steps []*yaml.Node, w *walk) []*yaml.Node {
	if child(steps[0], "call") == nil {
		return steps
	}
	if v := child(n.at, "retryOnFail"); v != nil && v.Value == "true" && child(steps[0], "retry") == nil {
		attempts := 3
		if m := child(n.at, "maxTries"); m != nil {
			_, _ = fmt.Sscanf(m.Value, "%d", &attempts)
		}
		set(steps[0], "retry", mapping("max_attempts", max(1, min(attempts, 1000))))
	}
	switch n.onError {
	case "continueRegularOutput":
		handled := []*yaml.Node{x.help(n, part, "map", mapping("error", "${error.message}"))}
		return []*yaml.Node{x.help(n, part, "try", steps, "catch", mapping("handled", true, "steps", handled))}
	case "continueErrorOutput":
		failed := variable(n.name + " failed")
		handled := []*yaml.Node{x.help(n, part, "set", mapping(failed, boolean(true))), x.help(n, part, "map", mapping("error", "${error.message}"))}
		first := x.help(n, part, "set", mapping(failed, boolean(false)))
		try := x.help(n, part, "try", steps, "catch", mapping("handled", true, "steps", handled))
		then := x.nonEmpty(n, part, x.after(n, 1, w))
		if !ends(then) {
			then = append(then, x.finish(n, part, w)...)
		}
		return []*yaml.Node{first, try, x.help(n, part, "if", "${vars."+failed+"}", "then", then)}
	}
	return steps
}

// finish ends the process, after a reply to a caller that waits.
func (x *n8n) finish(n *n8nNode, part string, w *walk) []*yaml.Node {
	stop := x.help(n, part, "stop", "the path of the workflow ends")
	if x.waits && !w.loop {
		return []*yaml.Node{x.help(n, part, "reply", "${doc}"), stop}
	}
	return []*yaml.Node{stop}
}

var errNode = errors.New("the node has no counterpart")
