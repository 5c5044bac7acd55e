package processes

import (
	"fmt"
	"path"
	"runtime"
	"strings"
	"sync"

	"gopkg.in/yaml.v3"

	"valence/internal/fault"
	"valence/internal/spec"
	"valence/internal/strictyaml"
)

// Load reads and checks the files of a project. YAML files (.yaml, .yml) hold
// its components, others are what a profile's `file:` may name. It reports
// everything that is wrong, in order of place. The project is never nil; it
// may be run only if the problems have no errors.
func Load(files []File, cat *Catalog) (*Project, fault.Problems) {
	l := newLoader(files, cat)
	if !l.fits(files) {
		return l.project, l.problems
	}
	l.read(files)
	l.declare()
	l.compile()
	l.relate()
	return l.project, bounded(l.problems)
}

// bounded sorts the problems and keeps the first MaxProblems. What is left out
// still counts: the last one is an error if any of them is.
func bounded(ps fault.Problems) fault.Problems {
	ps.Sort()
	if len(ps) <= MaxProblems {
		return ps
	}
	rest := &fault.Problem{Severity: fault.Warning, Code: CodeTooLarge, Msg: fmt.Sprintf("there are %d more problems", len(ps)-MaxProblems), Hint: "correct these first"}
	if ps[MaxProblems:].HasErrors() {
		rest.Severity = fault.Error
	}
	return append(ps[:MaxProblems:MaxProblems], rest)
}

// loader is a project while it is loaded.
type loader struct {
	cat        *Catalog
	kinds      map[string]*StepKind
	files      map[string][]byte // those that are no YAML
	project    *Project
	components []*component
	named      map[string]map[string]*component // by kind and name
	processes  []*building
	byName     map[string]*building
	problems   fault.Problems
	defaultsAt *component // the project component
	suspending map[suspension]*Step
	nearby     sync.Map // what near found
}

func newLoader(files []File, cat *Catalog) *loader {
	l := &loader{
		cat: cat, kinds: map[string]*StepKind{}, files: map[string][]byte{}, named: map[string]map[string]*component{}, byName: map[string]*building{}, suspending: map[suspension]*Step{},
		project: &Project{
			Processes: map[string]*Process{}, Connections: map[string]*Connection{}, Auths: map[string]*Auth{},
			Profiles: map[string]*Profile{}, Environments: map[string]*Environment{},
			Defaults: Defaults{Retention: Retention{Documents: keptRecords, Records: keptRecords}},
		},
	}
	l.project.kinds = l.kinds
	for i := range cat.Steps {
		l.kinds[cat.Steps[i].Kind] = &cat.Steps[i]
	}
	for name := range kinds {
		l.named[name] = map[string]*component{}
	}
	for _, f := range files {
		if !isYAML(f.Name) {
			l.files[f.Name] = f.Content
		}
	}
	return l
}

func isYAML(name string) bool {
	ext := path.Ext(name)
	return ext == ".yaml" || ext == ".yml"
}

func (l *loader) fits(files []File) bool {
	total := 0
	for _, f := range files {
		total += len(f.Content)
	}
	if len(files) <= MaxFiles && total <= MaxTotal {
		return true
	}
	l.report(nil, fault.Pos{}, CodeTooLarge, fmt.Sprintf("the project has %d files with %s", len(files), spec.FormatSize(int64(total))),
		fmt.Sprintf("split it: the most is %d files with %s", MaxFiles, spec.FormatSize(MaxTotal)))
	return false
}

func (l *loader) report(into *fault.Problems, at fault.Pos, code fault.Code, msg, hint string) {
	if into == nil {
		into = &l.problems
	}
	*into = append(*into, &fault.Problem{Pos: at, Code: code, Msg: msg, Hint: hint})
}

// spread runs f for 0 to n-1 on every processor.
func spread(n int, f func(i int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	if workers <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	var wg sync.WaitGroup
	next := make(chan int)
	for range workers {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

func (l *loader) read(files []File) {
	type parsed struct {
		src  *strictyaml.File
		list []*component
	}
	all := make([]parsed, len(files))
	spread(len(files), func(i int) {
		if isYAML(files[i].Name) {
			all[i].src, all[i].list = read(files[i])
		}
	})
	for _, p := range all {
		if p.src == nil {
			continue
		}
		l.problems = append(l.problems, p.src.Problems...)
		p.src.Problems = nil
		l.components = append(l.components, p.list...)
	}
}

// declare enters the components by name, and decodes all but the processes.
func (l *loader) declare() {
	for _, c := range l.components {
		l.enter(c)
	}
	for _, kind := range []string{"project", "profile", "connection", "auth", "environment"} {
		for _, c := range l.components {
			if c.kind != kind || c.root == nil {
				continue
			}
			switch kind {
			case "project":
				l.defaults(c)
			case "profile":
				l.profile(c)
			case "connection":
				l.connection(c)
			case "auth":
				l.auth(c)
			case "environment":
				l.environment(c)
			}
			c.root = nil
		}
	}
}

// name is what the component is called, "" if that is no text.
func (c *component) name() string {
	if spec.ShapeOf(c.val) == spec.TextShape {
		return c.val.Value
	}
	return ""
}

func (c *component) pos(n *yaml.Node) fault.Pos {
	return fault.Pos{File: c.src.Name, Line: n.Line, Col: n.Column}
}

func (l *loader) enter(c *component) {
	d := l.decoder(c, nil, nil)
	if kinds[c.kind].later {
		d.NotAvailable(c.key, "`"+c.kind+":`")
		c.root = nil
		return
	}
	name := c.name()
	b := &building{comp: c, proc: &Process{Name: name, Pos: c.pos(c.key)}}
	if c.kind == "process" {
		l.processes = append(l.processes, b)
	}
	if name == "" {
		return // decoding says so
	}
	if !spec.IsComponentName(name) {
		d.BadComponentName(c.val, name)
	}
	if first, taken := l.named[c.kind][name]; taken {
		l.report(nil, c.pos(c.val), CodeDuplicateName, "there is another "+c.kind+" `"+cut(name)+"` at "+first.pos(first.val).String(), "rename one of them")
		return
	}
	if strings.HasPrefix(name, "valence-") && !l.cat.Own && (c.kind == "process" || c.kind == "connection") {
		l.report(nil, c.pos(c.val), spec.CodeBadName, "names that begin with `valence-` belong to the atom", "choose another name, such as `"+cut(strings.TrimPrefix(name, "valence-"))+"`")
	}
	if c.kind == "auth" && name == "none" {
		l.report(nil, c.pos(c.val), CodeDuplicateName, "`none` is what a listener says that anybody may call", "choose another name")
		return
	}
	l.named[c.kind][name] = c
	if c.kind == "process" {
		l.project.Processes[name] = b.proc
		l.byName[name] = b
	}
}

// unknown reports the name of a component that there is not.
func (l *loader) unknown(d *spec.Decoder, n *yaml.Node, kind, name string) {
	hint := "declare it: `" + kind + ": " + cut(name) + "` as the first key of a document"
	if near := l.near(kind, name); near != "" {
		hint = "did you mean `" + near + "`?"
	}
	d.Problem(n, CodeUnknownComponent, "there is no "+kind+" `"+cut(name)+"`", hint)
}

// near finds the component that is probably meant, once for each name: a
// component that is missing may be named by thousands.
func (l *loader) near(kind, name string) string {
	key := kind + ":" + name
	if near, ok := l.nearby.Load(key); ok {
		return near.(string)
	}
	var known []string
	for k := range l.named[kind] {
		known = append(known, k)
	}
	near := nearest(name, known)
	l.nearby.Store(key, near)
	return near
}

// compile compiles the processes, those of one file after the other. A file is
// parsed once more for that: its documents were let go of after the first
// time, because those of a large project take more memory than its plans.
func (l *loader) compile() {
	var groups [][]*building
	for i, b := range l.processes {
		if i > 0 && b.comp.src == l.processes[i-1].comp.src {
			groups[len(groups)-1] = append(groups[len(groups)-1], b)
		} else {
			groups = append(groups, []*building{b})
		}
	}
	spread(len(groups), func(i int) {
		roots := groups[i][0].comp.src.Documents()
		for _, b := range groups[i] {
			if !b.comp.bad {
				b.comp.root = roots[b.comp.nth]
				b.compile(l)
				b.comp.root = nil
			}
		}
	})
	for _, b := range l.processes {
		l.problems = append(l.problems, b.problems...)
		l.project.needs = append(l.project.needs, b.needs...)
	}
}

// relate checks what needs several components.
func (l *loader) relate() {
	l.listeners()
	l.cycles()
	l.signals()
	l.ownKeys()
	l.hashes()
	l.time()
}

// time checks how long things can take, once what they call is known.
func (l *loader) time() {
	if l.problems.HasErrors() {
		return
	}
	spans := l.project.Spans()
	l.waitsAreBounded(spans)
	l.workersFit(spans)
	l.patience(&Spans{project: l.project, limits: spans.limits, known: map[measured]Span{}, reach: spans.reach, written: true})
}

// Needs gives every value of the environment that the project reads, in the
// order of the files; a value that is read in several places comes several times.
func (p *Project) Needs() []Need { return append([]Need(nil), p.needs...) }

// decoder makes a decoder for a component whose problems go to into.
func (l *loader) decoder(c *component, into *fault.Problems, compiler spec.Compiler) *spec.Decoder {
	if into == nil {
		into = &l.problems
	}
	return &spec.Decoder{File: c.src.Name, Compiler: compiler, Report: func(p *fault.Problem) { *into = append(*into, p) }}
}
