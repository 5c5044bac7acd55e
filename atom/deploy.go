package atom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"sync"

	"valence/atom/connection"
	"valence/atom/run"
	"valence/atom/steps"
	"valence/atom/store"
	"valence/internal/access"
	"valence/internal/authn"
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/metrics"
	"valence/internal/share"
	"valence/processes"
	"valence/processes/analysis"
	"valence/processes/loader"
)

// Release is a checked project to deploy, with its files and the values of its
// environment.
type Release struct {
	Name        string // of the project if several are deployed: it owns its connections, sequence scopes and defaults
	Project     *processes.Project
	Files       []processes.File
	Env         map[string]string
	Secrets     map[string]string
	Environment *processes.Environment // its connection overrides apply; nil: none
	// Connections are settings that replace those of connections and of the
	// environment. They hold no expressions.
	Connections map[string]*document.Object
	Policy      *access.Policy // of its connections; nil: not restricted
}

// release is a deployed Release with its connections open.
type release struct {
	name        string
	project     *processes.Project
	files       string // content hash
	env         *document.Object
	envHash     string
	secrets     *document.Object
	connections map[string]*connection.Connection
	policy      *access.Policy
}

// releases are the deployed releases, by name.
type releases map[string]*release

// connections returns every open connection.
func (rs releases) connections() connection.Set {
	var all connection.Set
	for _, r := range rs {
		for _, c := range r.connections {
			all = append(all, c)
		}
	}
	return all
}

// DeployedProcess is one process of the current deployment.
type DeployedProcess struct {
	Process      *processes.Process
	Auth         *processes.Auth // nil: callers are not authenticated
	AuthSettings map[string]any  // with secrets resolved, for package authn
	subscription any             // decoded settings
	pauses       *pauses
	halted       *pauses
	release      *release
	plan         *run.Plan
}

// Project returns the name of the process' project if several are deployed.
func (d *DeployedProcess) Project() string {
	if d.release == nil {
		return ""
	}
	return d.release.name
}

// Definition returns the project of the process, or nil if it is unknown.
func (d *DeployedProcess) Definition() *processes.Project {
	if d.release == nil {
		return nil
	}
	return d.release.project
}

// Policy returns the policy of the process' project.
func (d *DeployedProcess) Policy() *access.Policy {
	if d.release == nil {
		return nil
	}
	return d.release.policy
}

// Paused reports whether the process' trigger is paused.
func (d *DeployedProcess) Paused() bool { return d.pauses.has(d.Process.Name) }

// ProcessingPaused reports whether no durable executions are started.
func (d *DeployedProcess) ProcessingPaused() bool { return d.halted.has(d.Process.Name) }

// deployed returns the process as package run sees it.
func (d *DeployedProcess) deployed() run.Deployed {
	return run.Deployed{Plan: d.plan, Env: d.release.env, EnvHash: d.release.envHash}
}

// deployments hold the current releases, and the plans of earlier ones that
// are still needed.
type deployments struct {
	contents  store.Contents
	catalog   *processes.Catalog
	metrics   *metrics.Metrics
	host      *connection.Host
	callbacks *callbacks // nil: callbacks are off
	pauses    *pauses
	halted    *pauses

	mu       sync.RWMutex
	current  releases
	plans    map[string]*run.Plan // by Plan.Key: every version deployed in this run or still needed
	deployed []*DeployedProcess   // sorted by name
	watchers []func([]*DeployedProcess)
}

var _ run.Deployments = (*deployments)(nil)

func newDeployments(o Options, host *connection.Host) *deployments {
	d := &deployments{
		contents: o.Store, metrics: o.Metrics, host: host, plans: map[string]*run.Plan{},
		catalog: &processes.Catalog{Steps: steps.Kinds(), Connectors: o.Connectors},
	}
	d.callbacks = d.newCallbacks(o.Callbacks)
	return d
}

func (s *deployments) newPlan(p *processes.Process, of *processes.Project, release, files string) *run.Plan {
	stats := s.metrics.Process(p.Name)
	for _, status := range store.Statuses {
		stats.Declare(string(status))
	}
	return &run.Plan{Process: p, Project: of, Release: release, Files: files, Stats: stats}
}

// processList returns the deployed processes, sorted by name.
func (s *deployments) processList() []*DeployedProcess {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.deployed
}

// process returns the deployed process with a name.
func (s *deployments) process(name string) (*DeployedProcess, bool) {
	all := s.processList()
	i := sort.Search(len(all), func(i int) bool { return all[i].Process.Name >= name })
	if i < len(all) && all[i].Process.Name == name {
		return all[i], true
	}
	return nil, false
}

// Deployed returns the deployed process with a name.
func (s *deployments) Deployed(name string) (run.Deployed, bool) {
	d, ok := s.process(name)
	if !ok {
		return run.Deployed{}, false
	}
	return d.deployed(), true
}

// Plan returns the plan that a record refers to: one of this run, or one
// compiled from the files that were stored when the record was accepted.
func (s *deployments) Plan(ctx context.Context, process, name string) (*run.Plan, error) {
	key, files, release := run.ParsePlanName(name)
	s.mu.RLock()
	p := s.plans[key]
	s.mu.RUnlock()
	if p != nil {
		return p, nil
	}
	packed, err := s.contents.Content(ctx, files)
	if err != nil {
		return nil, fmt.Errorf("read the version it started with: %w", err)
	}
	var sources []processes.File
	if err := json.Unmarshal(packed, &sources); err != nil {
		return nil, fmt.Errorf("read the version it started with: %w", err)
	}
	project, problems := loader.Load(sources, s.catalog)
	if problems.HasErrors() {
		return nil, fmt.Errorf("the version it started with is not valid any more: %w", problems)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range project.Processes {
		if made := s.newPlan(q, project, release, files); s.plans[made.Key()] == nil {
			s.plans[made.Key()] = made
		}
	}
	if p = s.plans[key]; p == nil || p.Process.Name != process {
		return nil, fmt.Errorf("the stored version has no process %s with this content", process)
	}
	return p, nil
}

// Env returns the environment values with a content hash.
func (s *deployments) Env(ctx context.Context, hash string) (*document.Object, error) {
	s.mu.RLock()
	current := s.current
	s.mu.RUnlock()
	for _, r := range current {
		if r.envHash == hash {
			return r.env, nil
		}
	}
	text, err := s.contents.Content(ctx, hash)
	if err != nil {
		return nil, fmt.Errorf("read the environment values it started with: %w", err)
	}
	o, _ := document.Decode(document.Parse(string(text))).(*document.Object)
	return o, nil
}

// Secrets returns the secrets of a release; nil if it is not deployed.
func (s *deployments) Secrets(release string) *document.Object {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if r := s.current[release]; r != nil {
		return r.secrets
	}
	return nil
}

const defaultWorkers = 16

// Workers returns how many executions of a process may run at once.
func (s *deployments) Workers(process string) int {
	if s.halted.has(process) {
		return 0
	}
	if d, ok := s.process(process); ok && d.Process.Delivery.Workers > 0 {
		return share.Of(d.Process.Delivery.Workers, s.host.Members())
	}
	if process == run.CallbackProcess {
		return callbackWorkers
	}
	return defaultWorkers
}

// resized makes connections follow the number of members of the group.
func (s *deployments) resized() {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, c := range s.current.connections() {
		c.Resized()
	}
}

// open opens the connections of releases and resolves the settings of their
// processes.
func (s *deployments) open(all []Release) (releases, []*DeployedProcess, error) {
	for _, r := range all { // first, because errors may contain them
		s.host.Masks.Add(slices.Collect(maps.Values(r.Secrets))...)
	}
	next := releases{}
	var deployed []*DeployedProcess
	var projects []*processes.Project
	for _, r := range all {
		if next[r.Name] != nil {
			return nil, nil, fmt.Errorf("two projects are deployed as %q", r.Name)
		}
		next[r.Name] = &release{
			name: r.Name, project: r.Project, connections: map[string]*connection.Connection{},
			env: objectOf(r.Env), secrets: objectOf(r.Secrets), policy: r.Policy,
		}
		projects = append(projects, r.Project)
	}
	wrong := analysis.Conflicts(projects)
	for _, r := range all {
		found, problems := s.openRelease(next[r.Name], r)
		deployed, wrong = append(deployed, found...), append(wrong, problems...)
	}
	wrong = append(wrong, s.openCallbacks(next)...)
	if len(wrong) > 0 {
		next.connections().Close()
		wrong.Sort()
		return nil, nil, wrong
	}
	sort.Slice(deployed, func(i, j int) bool { return deployed[i].Process.Name < deployed[j].Process.Name })
	return next, deployed, nil
}

// badSettings is the hint of problems with resolved settings.
const badSettings = "correct its settings, or the values and secrets they are made of"

// hintFor returns the hint of a problem with resolved settings.
func hintFor(err error) string {
	var refusal *access.Refusal
	if errors.As(err, &refusal) {
		return refusal.Hint
	}
	return badSettings
}

func (s *deployments) openRelease(next *release, r Release) (deployed []*DeployedProcess, wrong fault.Problems) {
	env := &expression.Env{Names: processes.Values{Env: next.env, Secrets: next.secrets}}
	for name, c := range r.Project.Connections {
		var override *expression.Template
		if r.Environment != nil {
			override = r.Environment.Connections[name]
		}
		open, err := s.openConnection(run.Qualify(next.name, name), c, env, override, r.Connections[name], r.Policy)
		if err != nil {
			wrong = append(wrong, &fault.Problem{Pos: c.Pos, Code: "connection", Msg: fmt.Sprintf("the connection %s cannot be opened: %s", name, s.host.Masks.String(err.Error())), Hint: hintFor(err)})
			continue
		}
		next.connections[name] = open
	}
	for _, p := range r.Project.Processes {
		d := &DeployedProcess{Process: p, pauses: s.pauses, halted: s.halted, release: next}
		if p.Listen != nil && p.Listen.Auth != "" && p.Listen.Auth != "none" {
			d.Auth = r.Project.Auths[p.Listen.Auth]
			settings, err := d.Auth.Resolve(env)
			if err == nil {
				_, err = authn.New(d.Auth.Scheme, settings, r.Policy)
			}
			if err != nil {
				wrong = append(wrong, &fault.Problem{Pos: d.Auth.Pos, Code: "auth", Msg: s.host.Masks.String(err.Error()), Hint: hintFor(err)})
			}
			d.AuthSettings = settings
		}
		if p.Subscribe != nil {
			settings, err := p.Subscribe.Resolve(env)
			if err != nil {
				wrong = append(wrong, &fault.Problem{Pos: p.Subscribe.Pos, Code: "subscription", Msg: s.host.Masks.String(err.Error()), Hint: badSettings})
			}
			d.subscription = settings
		}
		deployed = append(deployed, d)
	}
	return deployed, wrong
}

// storeContents stores the project's files and the environment values, so that
// executions can continue after a restart with another version.
func (s *deployments) storeContents(ctx context.Context, next *release, files []processes.File) error {
	packed, err := json.Marshal(files)
	if err != nil {
		return err
	}
	next.files = run.Hash(packed)
	if err := s.contents.PutContent(ctx, next.files, packed); err != nil {
		return fmt.Errorf("store the project's files: %w", err)
	}
	if err := s.callbacks.storePlan(ctx, s.contents); err != nil {
		return err
	}
	env := document.AppendJSON(nil, next.env)
	next.envHash = run.Hash(env)
	if err := s.contents.PutContent(ctx, next.envHash, env); err != nil {
		return fmt.Errorf("store the environment values: %w", err)
	}
	return nil
}

// swap makes releases the current ones. It returns the previous ones and the
// functions to call.
func (s *deployments) swap(next releases, deployed []*DeployedProcess) (previous releases, watchers []func([]*DeployedProcess)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	previous = s.current
	s.current, s.deployed = next, deployed
	for _, d := range deployed {
		d.plan = s.newPlan(d.Process, d.release.project, d.release.name, d.release.files)
		s.plans[d.plan.Key()] = d.plan
	}
	return previous, s.watchers
}

// watch adds a watcher and returns the current deployment; nil if there is none.
func (s *deployments) watch(f func([]*DeployedProcess)) []*DeployedProcess {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = append(s.watchers, f)
	return s.deployed
}

func objectOf(m map[string]string) *document.Object {
	return document.FromPlain(m).(*document.Object)
}

// Deploy replaces the deployed projects. It either succeeds as a whole or
// changes nothing. Running executions finish on the version they started with.
// No two projects may have a process of the same name, or listeners for the
// same requests.
func (a *Atom) Deploy(ctx context.Context, all ...Release) error {
	next, deployed, err := a.deployments.open(all)
	if err != nil {
		return err
	}
	for _, r := range all {
		if err := a.deployments.storeContents(ctx, next[r.Name], r.Files); err != nil {
			next.connections().Close()
			return err
		}
	}
	if err := probeHeld(ctx, a.store, next.connections()); err != nil {
		next.connections().Close()
		return err
	}
	previous, watchers := a.deployments.swap(next, deployed)
	a.engine.Forget()
	a.triggers.wake()
	for _, f := range watchers {
		f(deployed)
	}
	previous.connections().Retire(a.grace)
	if a.phase.started.Load() {
		if err := probeHeld(context.WithoutCancel(a.engine.Work), a.store, a.deployments.allConnections()); err != nil {
			a.engine.Log.Error("cannot read held executions; they continue at the next start", "error", err)
		}
	}
	return nil
}

// Processes returns the deployed processes, sorted by name.
func (a *Atom) Processes() []*DeployedProcess { return a.deployments.processList() }

// Process returns the deployed process with a name.
func (a *Atom) Process(name string) (*DeployedProcess, bool) { return a.deployments.process(name) }

// OnDeploy adds a function that is called after each deployment, in the
// goroutine that deploys. If there was a deployment, it is called at once.
func (a *Atom) OnDeploy(f func([]*DeployedProcess)) {
	if deployed := a.deployments.watch(f); deployed != nil {
		f(deployed)
	}
}
