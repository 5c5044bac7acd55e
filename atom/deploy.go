package atom

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"

	"valence/internal/authn"
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/metrics"
	"valence/processes"
)

// Release is a project to be deployed: checked, with the files it was made of
// and the values of the place it runs in.
type Release struct {
	Name        string // of the project, where several are deployed: its connections, sequence scopes and defaults are its own
	Project     *processes.Project
	Files       []processes.File
	Env         map[string]string
	Secrets     map[string]string
	Environment *processes.Environment // whose connection overrides apply; nil: none
	// Connections are settings that replace those of connections and of the
	// environment, as they are: nothing in them is an expression.
	Connections map[string]*document.Object
}

// release is a deployed Release with its connections open.
type release struct {
	name        string
	project     *processes.Project
	files       string // content hash
	env         *document.Object
	envHash     string
	secrets     *document.Object
	connections map[string]*connection
}

// plan is one process of a version that was deployed, with the version's other
// processes, which it may call.
type plan struct {
	process *processes.Process
	project *processes.Project
	release string // its name
	files   string
	stats   *metrics.ProcessMetrics
}

func (a *Atom) newPlan(p *processes.Process, of *processes.Project, release, files string) *plan {
	return &plan{process: p, project: of, release: release, files: files, stats: a.metrics.Process(p.Name)}
}

// key names the plan among those of this run.
func (p *plan) key() string { return p.release + "/" + p.process.Hash }

// Deployed is one process as it runs now.
type Deployed struct {
	Process      *processes.Process
	Auth         *processes.Auth // nil: anybody may call
	AuthSettings map[string]any  // with secrets resolved, for package authn
	subscription any             // settings, decoded
	atom         *Atom
	release      *release
	plan         *plan
}

// Project names the project that the process belongs to, where several are deployed.
func (d *Deployed) Project() string {
	if d.release == nil {
		return ""
	}
	return d.release.name
}

// Paused reports whether the process' trigger is paused.
func (d *Deployed) Paused() bool {
	d.atom.mu.RLock()
	defer d.atom.mu.RUnlock()
	return d.atom.paused[d.Process.Name]
}

// values reads env and secret where no execution is.
type values struct{ env, secrets *document.Object }

func (v values) Name(root string) (any, bool) {
	switch root {
	case "env":
		return v.env, true
	case "secret":
		return v.secrets, true
	}
	return nil, false
}

// Deploy puts projects in place of those that run. It either succeeds as a
// whole or changes nothing. What runs finishes on the version it started with.
// No two of the projects may have a process of the same name, or listeners
// that take the same requests.
func (a *Atom) Deploy(ctx context.Context, all ...Release) error {
	next := releases{}
	var deployed []*Deployed
	var projects []*processes.Project
	for _, r := range all {
		if next[r.Name] != nil {
			return fmt.Errorf("two projects are deployed as %q", r.Name)
		}
		next[r.Name] = &release{
			name: r.Name, project: r.Project, connections: map[string]*connection{},
			env: objectOf(r.Env), secrets: objectOf(r.Secrets),
		}
		projects = append(projects, r.Project)
	}
	wrong := processes.Clashes(projects)
	for _, r := range all {
		found, problems := a.openRelease(next[r.Name], r)
		deployed, wrong = append(deployed, found...), append(wrong, problems...)
	}
	wrong = append(wrong, a.openCallbacks(next)...)
	if len(wrong) > 0 {
		next.close()
		wrong.Sort()
		return wrong
	}
	for _, r := range all {
		if err := a.keepContents(ctx, next[r.Name], r.Files); err != nil {
			next.close()
			return err
		}
	}
	sort.Slice(deployed, func(i, j int) bool { return deployed[i].Process.Name < deployed[j].Process.Name })
	a.swap(next, deployed)
	return nil
}

// openRelease opens the connections of a release and resolves what its processes read
// of its values.
func (a *Atom) openRelease(next *release, r Release) (deployed []*Deployed, wrong fault.Problems) {
	env := &expression.Env{Names: values{next.env, next.secrets}}
	for name, c := range r.Project.Connections {
		var override *expression.Template
		if r.Environment != nil {
			override = r.Environment.Connections[name]
		}
		open, err := a.openConnection(qualified(next.name, name), c, env, override, r.Connections[name])
		if err != nil {
			wrong = append(wrong, &fault.Problem{Pos: c.Pos, Code: "connection", Msg: fmt.Sprintf("the connection %s cannot be opened: %v", name, err),
				Hint: "correct its settings, or the values and secrets they are made of"})
			continue
		}
		next.connections[name] = open
	}
	for _, p := range r.Project.Processes {
		d := &Deployed{Process: p, atom: a, release: next}
		if p.Listen != nil && p.Listen.Auth != "" && p.Listen.Auth != "none" {
			d.Auth = r.Project.Auths[p.Listen.Auth]
			settings, err := d.Auth.Resolve(env)
			if err == nil {
				_, err = authn.New(d.Auth.Scheme, settings)
			}
			if err != nil {
				wrong = append(wrong, &fault.Problem{Pos: d.Auth.Pos, Code: "auth", Msg: err.Error(), Hint: "correct its settings, or the values and secrets they are made of"})
			}
			d.AuthSettings = settings
		}
		if p.Subscribe != nil {
			settings, err := p.Subscribe.Resolve(env)
			if err != nil {
				wrong = append(wrong, &fault.Problem{Pos: p.Subscribe.Pos, Code: "subscription", Msg: err.Error(), Hint: "correct its settings, or the values and secrets they are made of"})
			}
			d.subscription = settings
		}
		deployed = append(deployed, d)
	}
	return deployed, wrong
}

// keepContents stores what an execution needs to go on after a restart with
// another version: the project's files and the environment's values.
func (a *Atom) keepContents(ctx context.Context, next *release, files []processes.File) error {
	packed, err := json.Marshal(files)
	if err != nil {
		return err
	}
	next.files = hashOf(packed)
	if err := a.store.PutContent(ctx, next.files, packed); err != nil {
		return fmt.Errorf("keep the project's files: %w", err)
	}
	if err := a.callbacks.keepPlan(ctx, a.store); err != nil {
		return err
	}
	env := document.AppendJSON(nil, next.env)
	next.envHash = hashOf(env)
	if err := a.store.PutContent(ctx, next.envHash, env); err != nil {
		return fmt.Errorf("keep the environment's values: %w", err)
	}
	return nil
}

func (a *Atom) swap(next releases, deployed []*Deployed) {
	a.mu.Lock()
	previous := a.current
	a.current, a.deployed = next, deployed
	for _, d := range deployed {
		d.plan = a.newPlan(d.Process, d.release.project, d.release.name, d.release.files)
		a.plans[d.plan.key()] = d.plan
	}
	watchers := a.onDeploy
	a.mu.Unlock()
	a.labels.Clear()
	a.clockwork.poke()
	a.listening.poke()
	for _, f := range watchers {
		f(deployed)
	}
	previous.retire(a.grace)
	if a.started.Load() {
		if err := a.resumeHeld(context.WithoutCancel(a.work)); err != nil {
			a.log.Error("what connections hold cannot be read; it goes on at the next start", "error", err)
		}
	}
}

// planOf finds the plan that a record is to run on: one of this run's, or one
// made again from the files that were stored when it was accepted.
func (a *Atom) planOf(ctx context.Context, process, name string) (*plan, error) {
	hash, rest, _ := strings.Cut(name, "@")
	files, release, _ := strings.Cut(rest, "/")
	key := release + "/" + hash
	a.mu.RLock()
	p := a.plans[key]
	a.mu.RUnlock()
	if p != nil {
		return p, nil
	}
	packed, err := a.store.Content(ctx, files)
	if err != nil {
		return nil, fmt.Errorf("the version it started with: %w", err)
	}
	var sources []processes.File
	if err := json.Unmarshal(packed, &sources); err != nil {
		return nil, fmt.Errorf("the version it started with: %w", err)
	}
	project, problems := processes.Load(sources, a.catalog)
	if problems.HasErrors() {
		return nil, fmt.Errorf("the version it started with is no longer understood: %w", problems)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, q := range project.Processes {
		if made := a.newPlan(q, project, release, files); a.plans[made.key()] == nil {
			a.plans[made.key()] = made
		}
	}
	if p = a.plans[key]; p == nil || p.process.Name != process {
		return nil, fmt.Errorf("the stored version holds no process %s with this content", process)
	}
	return p, nil
}

// name is how a record refers to the plan.
func (p *plan) name() string {
	if p.release == "" {
		return p.process.Hash + "@" + p.files
	}
	return p.process.Hash + "@" + p.files + "/" + p.release
}

// envOf gives the environment values that a record started with.
func (a *Atom) envOf(ctx context.Context, hash string) (*document.Object, error) {
	a.mu.RLock()
	current := a.current
	a.mu.RUnlock()
	for _, r := range current {
		if r.envHash == hash {
			return r.env, nil
		}
	}
	text, err := a.store.Content(ctx, hash)
	if err != nil {
		return nil, fmt.Errorf("the environment values it started with: %w", err)
	}
	o, _ := document.Decode(document.Parse(string(text))).(*document.Object)
	return o, nil
}

// Deployed gives every process that is deployed, by name.
func (a *Atom) Deployed() []*Deployed {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.deployed
}

// Process finds a deployed process by name.
func (a *Atom) Process(name string) (*Deployed, bool) {
	all := a.Deployed()
	i := sort.Search(len(all), func(i int) bool { return all[i].Process.Name >= name })
	if i < len(all) && all[i].Process.Name == name {
		return all[i], true
	}
	return nil, false
}

// OnDeploy names a function that is told of each deployment, in the goroutine
// that deploys; and at once, if there was one already.
func (a *Atom) OnDeploy(f func([]*Deployed)) {
	a.mu.Lock()
	a.onDeploy = append(a.onDeploy, f)
	deployed := a.deployed
	a.mu.Unlock()
	if deployed != nil {
		f(deployed)
	}
}

const defaultWorkers = 16

func (a *Atom) workersOf(process string) int {
	if d, ok := a.Process(process); ok && d.Process.Delivery.Workers > 0 {
		return d.Process.Delivery.Workers
	}
	if process == callbackProcess {
		return callbackWorkers
	}
	return defaultWorkers
}

// pauseContent names the paused triggers in the store's contents.
const pauseContent = "paused-triggers"

func (a *Atom) loadPauses(ctx context.Context) error {
	text, err := a.store.Content(ctx, pauseContent)
	if errors.Is(err, ErrUnknown) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read which triggers are paused: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return json.Unmarshal(text, &a.paused)
}

// Pause stops a process' trigger: its listener answers 503 until Resume, also
// after a restart. What was accepted is run.
func (a *Atom) Pause(ctx context.Context, name string) error { return a.setPaused(ctx, name, true) }

// Resume lets a paused trigger go on.
func (a *Atom) Resume(ctx context.Context, name string) error { return a.setPaused(ctx, name, false) }

func (a *Atom) setPaused(ctx context.Context, name string, paused bool) error {
	if _, ok := a.Process(name); !ok {
		return ErrNoSuch
	}
	a.mu.Lock()
	next := map[string]bool{}
	for n := range a.paused {
		next[n] = true
	}
	if delete(next, name); paused {
		next[name] = true
	}
	text, err := json.Marshal(next)
	a.mu.Unlock()
	if err != nil {
		return err
	}
	if err := a.store.PutContent(ctx, pauseContent, text); err != nil {
		return err
	}
	a.mu.Lock()
	a.paused = next
	a.mu.Unlock()
	a.clockwork.poke()
	a.listening.poke()
	if a.onSwitch != nil {
		a.onSwitch()
	}
	event := HappenedResumed
	if paused {
		event = HappenedPaused
	}
	a.audiences.tell(Happening{Event: event, Process: name})
	return nil
}

// OnSwitch names the function that is told when a trigger was paused or
// resumed. It must not block, and must be set before Run.
func (a *Atom) OnSwitch(f func()) { a.onSwitch = f }

// Restart ends the subscription of a process and begins it again. Other
// triggers hold nothing that could begin again.
func (a *Atom) Restart(name string) error {
	if _, ok := a.Process(name); !ok {
		return ErrNoSuch
	}
	a.listening.again(name)
	return nil
}

func objectOf(m map[string]string) *document.Object {
	return document.FromPlain(m).(*document.Object)
}

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}
