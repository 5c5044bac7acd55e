// Package loader loads projects: it reads YAML files, checks them, and compiles
// their processes into plans. Load reports all problems at once, each with its
// position and a hint.
//
// It has more than 2,500 lines because all of its checks share the state of one
// compilation: names, scopes of variables and positions in the files.
package loader

import (
	"context"
	"fmt"
	"path"
	"runtime"
	"strings"
	"sync"

	"gopkg.in/yaml.v3"

	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/internal/strictyaml"
	"valence/processes"
	"valence/processes/analysis"
	"valence/processes/language"
)

// Load loads and checks the files of a project. YAML files (.yaml, .yml) hold
// its components; other files may be schemas of profiles or rows of tables. Load returns all
// problems, sorted by position. The project is never nil, but it may be run only
// if the problems have no errors.
func Load(files []processes.File, cat *processes.Catalog) (*processes.Project, fault.Problems) {
	l := newLoader(files, cat)
	_ = l.load(context.Background(), files) // has no limits
	return l.project, bounded(l.problems)
}

// LoadWithin is Load within limits and the time of ctx. It fails with a
// TooManyValuesError, an error of package budget, or the error of ctx; then
// nothing is known about the project.
func LoadWithin(ctx context.Context, files []processes.File, cat *processes.Catalog, limits Limits) (*processes.Project, fault.Problems, error) {
	release, err := limits.reserve(files)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	l := newLoader(files, cat)
	if err := l.load(ctx, files); err != nil {
		return nil, nil, err
	}
	return l.project, bounded(l.problems), nil
}

// load runs the phases of the loader. Between them, and between files and
// processes, it stops if ctx has ended.
func (l *loader) load(ctx context.Context, files []processes.File) error {
	if !l.fits(files) {
		return nil
	}
	l.ctx = ctx
	for _, phase := range []func(){func() { l.read(files) }, l.declare, l.compile, l.tests, l.relate} {
		if phase(); l.ended() {
			return context.Cause(ctx)
		}
	}
	l.problems = accepted(files, l.problems)
	return nil
}

// ended reports whether the time for loading is over.
func (l *loader) ended() bool { return l.ctx.Err() != nil }

// bounded sorts the problems and returns the first MaxProblems. A further
// problem counts the others; it is an error if any of them is.
func bounded(ps fault.Problems) fault.Problems {
	ps.Sort()
	if len(ps) <= MaxProblems {
		return ps
	}
	rest := &fault.Problem{Severity: fault.Warning, Code: processes.CodeTooLarge, Msg: fmt.Sprintf("%d more problems are not listed", len(ps)-MaxProblems), Hint: "fix the listed problems first"}
	if ps[MaxProblems:].HasErrors() {
		rest.Severity = fault.Error
	}
	return append(ps[:MaxProblems:MaxProblems], rest)
}

// loader loads one project.
type loader struct {
	ctx        context.Context
	cat        *processes.Catalog
	kinds      map[string]*processes.StepKind
	files      map[string][]byte // files that are not YAML
	project    *processes.Project
	components []*component
	named      map[string]map[string]*component // by kind and name
	processes  []*processBuilder
	byName     map[string]*processBuilder
	problems   fault.Problems
	defaultsAt *component // the project component
	nearby     sync.Map   // results of near
	lib        *expression.Library
	plain      *expression.Scope // of expressions outside of loops with `as:`
	uses       map[string]string // digests of functions and tables, by kind and name
}

func newLoader(files []processes.File, cat *processes.Catalog) *loader {
	lib := expression.NewLibrary()
	l := &loader{
		lib: lib, plain: &expression.Scope{Names: (*scope)(nil).types(special), Library: lib}, uses: map[string]string{},
		cat: cat, kinds: map[string]*processes.StepKind{}, files: map[string][]byte{}, named: map[string]map[string]*component{}, byName: map[string]*processBuilder{},
		project: &processes.Project{
			Processes: map[string]*processes.Process{}, Connections: map[string]*processes.Connection{}, Auths: map[string]*processes.Auth{},
			Profiles: map[string]*processes.Profile{}, Environments: map[string]*processes.Environment{},
			Defaults: processes.Defaults{Retention: processes.Retention{Documents: language.DefaultRetention, Records: language.DefaultRetention}},
		},
	}
	l.project.Kinds = l.kinds
	for i := range cat.Steps {
		l.kinds[cat.Steps[i].Kind] = &cat.Steps[i]
	}
	for name := range language.Kinds {
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

func (l *loader) fits(files []processes.File) bool {
	total := 0
	for _, f := range files {
		total += len(f.Content)
	}
	if len(files) <= MaxFiles && total <= MaxTotal {
		return true
	}
	l.report(nil, fault.Pos{}, processes.CodeTooLarge, fmt.Sprintf("the project has %d files with %s in total", len(files), spec.FormatSize(int64(total))),
		fmt.Sprintf("split it: the maximum is %d files with %s", MaxFiles, spec.FormatSize(MaxTotal)))
	return false
}

func (l *loader) report(into *fault.Problems, at fault.Pos, code fault.Code, msg, hint string) *fault.Problem {
	if into == nil {
		into = &l.problems
	}
	p := &fault.Problem{Pos: at, Code: code, Msg: msg, Hint: hint}
	*into = append(*into, p)
	return p
}

// spread calls f for 0 to n-1, concurrently on all processors.
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

func (l *loader) read(files []processes.File) {
	type parsed struct {
		src  *strictyaml.File
		list []*component
	}
	all := make([]parsed, len(files))
	spread(len(files), func(i int) {
		if isYAML(files[i].Name) && !l.ended() {
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

// declare registers the components by name, and decodes all except the processes.
func (l *loader) declare() {
	for _, c := range l.components {
		l.enter(c)
	}
	l.library()
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

// name returns the name of the component, or "" if it is not a string.
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
	if language.Kinds[c.kind].Later {
		d.NotAvailable(c.key, "`"+c.kind+":`")
		c.root = nil
		return
	}
	name := c.name()
	b := &processBuilder{comp: c, proc: &processes.Process{Name: name, Pos: c.pos(c.key)}}
	if c.kind == "process" {
		l.processes = append(l.processes, b)
	}
	if name == "" {
		return // decoding reports it
	}
	switch {
	case c.kind == "test":
	case c.kind != "function" && !spec.IsComponentName(name):
		d.BadComponentName(c.val, name)
	case c.kind == "function" && !spec.IsName(name):
		d.BadName(c.val, name)
	}
	if first, taken := l.named[c.kind][name]; taken {
		l.report(nil, c.pos(c.val), processes.CodeDuplicateName, "the "+c.kind+" `"+cut(name)+"` is already declared at "+first.pos(first.val).String(), "rename one of them")
		return
	}
	if strings.HasPrefix(name, "valence-") && !l.cat.Own && (c.kind == "process" || c.kind == "connection") {
		l.report(nil, c.pos(c.val), spec.CodeBadName, "names that begin with `valence-` are reserved for the atom", "choose another name, such as `"+cut(strings.TrimPrefix(name, "valence-"))+"`")
	}
	if c.kind == "auth" && name == "none" {
		l.report(nil, c.pos(c.val), processes.CodeDuplicateName, "the name `none` is reserved: a listener with `auth: none` accepts all callers", "choose another name")
		return
	}
	l.named[c.kind][name] = c
	if c.kind == "process" {
		l.project.Processes[name] = b.proc
		l.byName[name] = b
	}
}

// unknown reports the name of a component that does not exist.
func (l *loader) unknown(d *spec.Decoder, n *yaml.Node, kind, name string) {
	hint, near := "declare it: `"+kind+": "+cut(name)+"` as the first key of a document", l.near(kind, name)
	if near != "" {
		hint = "did you mean `" + near + "`?"
	}
	d.Problem(n, processes.CodeUnknownComponent, "the project has no "+kind+" `"+cut(name)+"`", hint).Correct(name, near)
}

// near returns the component that is probably meant. It caches the result,
// because thousands of steps may name the same missing component.
func (l *loader) near(kind, name string) string {
	key := kind + ":" + name
	if near, ok := l.nearby.Load(key); ok {
		return near.(string)
	}
	var known []string
	for k := range l.named[kind] {
		known = append(known, k)
	}
	near := spec.Nearest(name, known)
	l.nearby.Store(key, near)
	return near
}

// compile compiles the processes, several files at a time. It parses each file
// again: the documents are released after the first pass, because those of a
// large project need more memory than its plans.
func (l *loader) compile() {
	var groups [][]*processBuilder
	for i, b := range l.processes {
		if i > 0 && b.comp.src == l.processes[i-1].comp.src {
			groups[len(groups)-1] = append(groups[len(groups)-1], b)
		} else {
			groups = append(groups, []*processBuilder{b})
		}
	}
	spread(len(groups), func(i int) {
		roots := groups[i][0].comp.src.Documents()
		for _, b := range groups[i] {
			if !b.comp.bad && !l.ended() {
				b.comp.root = roots[b.comp.nth]
				b.compile(l)
				b.comp.root = nil
			}
		}
	})
	for _, b := range l.processes {
		l.problems = append(l.problems, b.problems...)
		l.project.Needs = append(l.project.Needs, b.needs...)
	}
}

// relate checks the relations between components.
func (l *loader) relate() {
	procs := make([]*processes.Process, len(l.processes))
	for i, b := range l.processes {
		procs[i] = b.proc
	}
	l.problems = append(l.problems, analysis.Check(l.project, procs, l.incomplete())...)
	if !l.incomplete() {
		l.caughtCodes()
	}
	for _, b := range l.processes {
		l.startedAtOnce(b)
	}
	if !l.problems.HasErrors() {
		l.problems = append(l.problems, analysis.Prove(l.project, procs)...)
		for _, b := range l.processes {
			l.problems = append(l.problems, b.hiding...)
		}
	}
	l.hashes()
}

// decoder returns a decoder that appends the problems of a component to into.
func (l *loader) decoder(c *component, into *fault.Problems, compiler spec.Compiler) *spec.Decoder {
	if into == nil {
		into = &l.problems
	}
	return &spec.Decoder{File: c.src.Name, Compiler: compiler, Report: func(p *fault.Problem) { *into = append(*into, p) }}
}
