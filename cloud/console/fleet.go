package console

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"valence/cloud"
)

// fleet is the state of an account as one principal may see it.
type fleet struct {
	made         time.Time
	until        time.Time // when the cached state expires
	rows         []*row
	byAtom       map[string]*row
	environments []cloud.Environment
	places       map[string]*place
	problems     []*problem // worst first, problems of a kind grouped
	online       int
	troubled     int
}

// row is an atom with its problems.
type row struct {
	cloud.Atom
	Environment *cloud.Environment // nil: none
	Troubles    []*problem
}

// Worst returns the worst severity.
func (r *row) Worst() int {
	worst := 0
	for _, p := range r.Troubles {
		worst = max(worst, p.Severity)
	}
	return worst
}

// Changing reports whether an atom is converging to its desired state.
func (r *row) Changing() bool { return r.Status == cloud.Online && r.Applied != r.Generation }

// place is an environment with its atoms and deployments.
type place struct {
	cloud.Environment
	Atoms       []*row
	Online      int
	Deployments []*rollout
}

// rollout is an active deployment with its results.
type rollout struct {
	cloud.Deployment
	Package cloud.Package
	Fine    int // atoms that run it
	Failed  int
	Back    int
	Pending int

	told map[string]cloud.DeploymentResult // by atom
}

// Severities of problems.
const (
	warning = 1
	bad     = 2
)

// problem is one problem with the next action.
type problem struct {
	Kind     string
	Severity int
	Title    string
	Detail   string
	Since    time.Time
	Next     string
	Href     string // page with details
	Link     string // label of Href
}

// fleets caches fleet states for a moment, so that many open consoles cost
// little more than one.
type fleets struct {
	mu  sync.Mutex
	all map[string]*fleetSlot
}

type fleetSlot struct {
	mu    sync.Mutex // held while the state is computed: others wait for it
	fleet *fleet

	told  map[string]map[string]cloud.DeploymentResult // by deployment and atom
	until time.Time                                    // when told expires
}

// Cache times: at least fleetLives, and longer if computing is expensive, so
// that it uses at most a twentieth of the time. Deployment results are cached
// separately: reading them for many atoms is expensive and must not delay the
// OFFLINE status.
const (
	fleetLives = time.Second
	fleetShare = 20
	maxFleets  = 100
)

// slot returns the cache slot shared by principals with the same rights.
func (f *fleets) slot(p cloud.Principal) *fleetSlot {
	key := p.Account + "\n" + strings.Join(p.Environments, "\n")
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.all[key]
	if s == nil {
		if f.all == nil || len(f.all) >= maxFleets {
			f.all = map[string]*fleetSlot{}
		}
		s = &fleetSlot{}
		f.all[key] = s
	}
	return s
}

// forget invalidates the cached states of an account.
func (f *fleets) forget(account string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key := range f.all {
		if strings.HasPrefix(key, account+"\n") {
			delete(f.all, key)
		}
	}
}

// fleet returns the state of the account, at most a moment old.
func (c *console) fleet(v *visit) (*fleet, error) {
	slot := c.fleets.slot(v.p)
	slot.mu.Lock()
	defer slot.mu.Unlock()
	begin := time.Now()
	if slot.fleet != nil && begin.Before(slot.fleet.until) {
		return slot.fleet, nil
	}
	f, err := c.survey(v.Context(), v.p, slot)
	if err != nil {
		return nil, err
	}
	took := time.Since(begin)
	f.made, f.until = begin, begin.Add(took+max(fleetLives, fleetShare*took))
	slot.fleet = f
	return f, nil
}

// survey computes the state of the account.
func (c *console) survey(ctx context.Context, p cloud.Principal, slot *fleetSlot) (*fleet, error) {
	f := &fleet{byAtom: map[string]*row{}, places: map[string]*place{}}
	atoms, err := c.Service.Fleet.Atoms(ctx, p)
	if err != nil {
		return nil, err
	}
	if f.environments, err = c.Service.Environments.List(ctx, p); err != nil {
		return nil, err
	}
	attached, err := c.Service.Fleet.Attachments(ctx, p)
	if err != nil {
		return nil, err
	}
	for i := range f.environments {
		f.places[f.environments[i].ID] = &place{Environment: f.environments[i]}
	}
	for i := range atoms {
		r := &row{Atom: atoms[i]}
		f.rows = append(f.rows, r)
		f.byAtom[r.ID] = r
		if r.Status == cloud.Online {
			f.online++
		}
	}
	for _, at := range attached {
		r, e := f.byAtom[at.AtomID], f.places[at.EnvironmentID]
		if r == nil || e == nil {
			continue
		}
		r.Environment = &e.Environment
		if e.Atoms = append(e.Atoms, r); r.Status == cloud.Online {
			e.Online++
		}
	}
	for _, r := range f.rows {
		r.Troubles = troubles(r)
	}
	if err := c.rollouts(ctx, p, f, slot); err != nil {
		return nil, err
	}
	f.sum()
	if err := c.Service.Ready(); err != nil {
		f.problems = append([]*problem{{Kind: "store", Severity: bad, Title: "The control plane cannot write to its store",
			Detail: err.Error(), Next: "Check the disk of its data folder and its log. Atoms keep running, but nothing can be changed or requested until this is fixed."}}, f.problems...)
	}
	return f, nil
}

// rollouts computes the results of the active deployments.
func (c *console) rollouts(ctx context.Context, p cloud.Principal, f *fleet, slot *fleetSlot) error {
	all, err := c.Service.Deployments.List(ctx, p)
	if err != nil {
		return err
	}
	begin := time.Now()
	read := begin.After(slot.until)
	if read {
		slot.told = map[string]map[string]cloud.DeploymentResult{}
	}
	for _, d := range all {
		at := f.places[d.EnvironmentID]
		if !d.Active || at == nil {
			continue
		}
		x, err := c.Service.Packages.Get(ctx, p, d.PackageID)
		if err != nil {
			return err
		}
		if slot.told[d.ID] == nil {
			if slot.told[d.ID], err = c.told(ctx, p, d.ID); err != nil {
				return err
			}
		}
		o := &rollout{Deployment: d, Package: x, told: slot.told[d.ID]}
		o.judge(at)
		at.Deployments = append(at.Deployments, o)
	}
	if took := time.Since(begin); read {
		slot.until = begin.Add(took + max(fleetLives, fleetShare*took))
	}
	for _, at := range f.places {
		slices.SortFunc(at.Deployments, func(a, b *rollout) int { return cmp.Compare(a.Package.Project, b.Package.Project) })
	}
	return nil
}

// told reads the reported results of a deployment.
func (c *console) told(ctx context.Context, p cloud.Principal, deployment string) (map[string]cloud.DeploymentResult, error) {
	d, err := c.Service.Deployments.Get(ctx, p, deployment)
	if err != nil {
		return nil, err
	}
	all := map[string]cloud.DeploymentResult{}
	for _, r := range d.Results {
		all[r.AtomID] = r
	}
	return all, nil
}

// judge counts the results of a deployment and adds problems for the atoms where
// it failed.
// become what it was to be say so.
func (o *rollout) judge(at *place) {
	for _, a := range at.Atoms {
		r, known := o.told[a.ID]
		switch {
		case !known:
			o.Pending++
		case r.State == "active":
			o.Fine++
		case r.State == "rolled_back":
			o.Back++
			a.Troubles = append(a.Troubles, refusedVersion(o, at, a, r, "rolled %s %s back"))
		default:
			o.Failed++
			a.Troubles = append(a.Troubles, refusedVersion(o, at, a, r, "could not start %s %s"))
			a.explained(o.Package.Project)
		}
	}
}

func refusedVersion(o *rollout, at *place, a *row, r cloud.DeploymentResult, what string) *problem {
	return &problem{
		Kind: "rollout " + o.ID, Severity: bad, Since: r.At, Detail: r.Detail,
		Title: a.Name + " " + fmt.Sprintf(what, o.Package.Project, o.Package.Version),
		Next:  "The previous version keeps running. Set the missing values, deploy a fixed version, or roll back.",
		Href:  "/environments/" + url.PathEscape(at.ID) + "#deployments", Link: "deployments of " + at.Name,
	}
}

// Thresholds of an atom's warnings.
const (
	manyWaiting = 1_000  // messages; from 10,000 on requests are rejected
	manyBacklog = 10_000 // executions
	slowChange  = 2 * time.Minute
)

// explained removes the health problem of a project if its deployment reports it
// in more detail.
func (r *row) explained(project string) {
	if health := r.Heartbeat.Health; strings.HasPrefix(health, project+": ") && !strings.Contains(health, "\n") {
		r.Troubles = slices.DeleteFunc(r.Troubles, func(p *problem) bool { return p.Kind == "health" })
	}
}

// troubles returns the problems that an atom's heartbeat shows.
func troubles(r *row) []*problem {
	var all []*problem
	here := "/atoms/" + url.PathEscape(r.ID)
	add := func(kind string, severity int, title, detail, next string) *problem {
		p := &problem{Kind: kind, Severity: severity, Title: r.Name + " " + title, Detail: detail, Next: next, Href: here, Link: r.Name}
		all = append(all, p)
		return p
	}
	waits := ""
	if r.Waiting > 0 {
		waits = plural(r.Waiting, "request waits", "requests wait") + " for it."
	}
	switch {
	case r.Status != cloud.Online && r.LastSeen.IsZero():
		add("silent", warning, "has joined but never polled", waits, "Start it on its machine: valence run --data DIR, with the data folder used for valence join.").Since = r.Enrolled
	case r.Status != cloud.Online:
		add("offline", bad, "is OFFLINE", waits, "Check that valence run is running on "+orMachine(r.Host)+" and can reach this address. "+
			"If it runs, it keeps working with its current deployments. If it is gone for good, revoke it.").Since = r.LastSeen
	case r.Heartbeat.Health != "" && r.Heartbeat.Health != "ok":
		add("health", bad, "reports a health problem", r.Heartbeat.Health, "Read its log here or on "+orMachine(r.Host)+".")
	}
	if r.Status == cloud.Online && r.Applied != r.Generation {
		if at := time.UnixMilli(r.Generation); time.Since(at) > slowChange {
			add("changing", warning, "has not reached its desired state", "", "Check the results of its deployments and its log.").Since = at
		}
	}
	if r.Environment == nil {
		add("nowhere", warning, "is not attached to an environment", "Nothing is deployed to it.", "Attach it to an environment, or revoke it if it was retired.")
	}
	if r.Heartbeat.Failed > 0 {
		p := add("failed", warning, "has "+plural(int(r.Heartbeat.Failed), "failed execution", "failed executions"), "",
			"Open them here. On its machine, valence failed groups them by cause and resubmits them.")
		p.Href, p.Link = "/executions?status=ERROR&atom="+url.QueryEscape(r.ID), "failed executions"
	}
	if r.Heartbeat.Dropped > 0 {
		add("dropped", warning, "has dropped "+plural(int(r.Heartbeat.Dropped), "execution report", "execution reports"), "Those executions are recorded on the atom only.",
			"It ran more executions than it could report, or was cut off for too long. On its machine, valence executions lists all of them.")
	}
	if r.Waiting >= manyWaiting && r.Status == cloud.Online {
		add("waiting", warning, "processes requests more slowly than they arrive", waits, "Beyond 10,000 waiting requests, new ones are rejected.")
	}
	if r.Heartbeat.Backlog >= manyBacklog {
		add("backlog", warning, "has a backlog of "+number(r.Heartbeat.Backlog), "", "Work arrives faster than it is processed. Check which process lags and whether the system it calls is slow.")
	}
	return all
}

func orMachine(host string) string {
	if host == "" {
		return "its machine"
	}
	return host
}

// groupFrom is the number of problems of a kind that are grouped.
const groupFrom = 4

// ofKind names groups of problems.
var ofKind = map[string]struct{ title, link, state string }{
	"offline":  {"%s atoms are OFFLINE", "all OFFLINE atoms", "offline"},
	"silent":   {"%s atoms have joined but never polled", "all of them", "trouble"},
	"health":   {"%s atoms report a health problem", "all of them", "trouble"},
	"changing": {"%s atoms have not reached their desired state", "all of them", "changing"},
	"nowhere":  {"%s atoms are not attached to an environment", "all of them", "trouble"},
	"failed":   {"%s atoms have failed executions", "all failed executions", ""},
	"waiting":  {"%s atoms process requests more slowly than they arrive", "all of them", "trouble"},
	"backlog":  {"%s atoms have a large backlog", "all of them", "trouble"},
}

// sum sorts the problems, worst first, and groups those of a kind.
func (f *fleet) sum() {
	by := map[string][]*problem{}
	var kinds []string
	for _, r := range f.rows {
		if len(r.Troubles) > 0 {
			f.troubled++
		}
		for _, p := range r.Troubles {
			if by[p.Kind] == nil {
				kinds = append(kinds, p.Kind)
			}
			by[p.Kind] = append(by[p.Kind], p)
		}
	}
	for _, kind := range kinds {
		if len(by[kind]) < groupFrom {
			f.problems = append(f.problems, by[kind]...)
			continue
		}
		f.problems = append(f.problems, together(by[kind]))
	}
	slices.SortStableFunc(f.problems, func(a, b *problem) int { return b.Severity - a.Severity })
}

// together combines many problems of a kind into one.
func together(all []*problem) *problem {
	first := *all[0]
	var names []string
	for _, p := range all[:groupFrom-1] {
		names = append(names, p.Title)
	}
	first.Detail = strings.Join(names, "; ") + fmt.Sprintf("; and %s more.", number(len(all)-len(names)))
	for _, p := range all {
		if p.Since.After(first.Since) {
			first.Since = p.Since // the latest one
		}
	}
	kind, known := ofKind[first.Kind]
	if !known {
		first.Title = number(len(all)) + " atoms rejected a deployed version"
		return &first
	}
	first.Title, first.Link = fmt.Sprintf(kind.title, number(len(all))), kind.link
	first.Href = "/?state=" + kind.state
	if kind.state == "" {
		first.Href = "/executions?status=ERROR"
	}
	return &first
}
