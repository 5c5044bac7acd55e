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

// fleet is how everything of an account stands, as somebody may see it.
type fleet struct {
	made         time.Time
	until        time.Time // it serves so long
	rows         []*row
	byAtom       map[string]*row
	environments []cloud.Environment
	places       map[string]*place
	problems     []*problem // the worst first, those of a kind together
	online       int
	troubled     int
}

// row is an atom and what is wrong with it.
type row struct {
	cloud.Atom
	Environment *cloud.Environment // nil: none
	Troubles    []*problem
}

// Worst is how bad it is.
func (r *row) Worst() int {
	worst := 0
	for _, p := range r.Troubles {
		worst = max(worst, p.Severity)
	}
	return worst
}

// Changing reports whether an atom is on its way to what it is to be like.
func (r *row) Changing() bool { return r.Status == cloud.Online && r.Applied != r.Generation }

// place is an environment with what is in it.
type place struct {
	cloud.Environment
	Atoms       []*row
	Online      int
	Deployments []*rollout
}

// rollout is an active deployment and what became of it.
type rollout struct {
	cloud.Deployment
	Package cloud.Package
	Fine    int // atoms that run it
	Failed  int
	Back    int
	Pending int

	told map[string]cloud.DeploymentResult // by atom
}

// The severities of problems.
const (
	warning = 1
	bad     = 2
)

// problem is something wrong, and what to do next.
type problem struct {
	Kind     string
	Severity int
	Title    string
	Detail   string
	Since    time.Time
	Next     string
	Href     string // where more of it is
	Link     string // what that is called
}

// fleets keeps what was found out for a moment, so that many open consoles cost
// little more than one.
type fleets struct {
	mu  sync.Mutex
	all map[string]*fleetSlot
}

type fleetSlot struct {
	mu    sync.Mutex // held while it is made: others wait for the same
	fleet *fleet

	told  map[string]map[string]cloud.DeploymentResult // by deployment and atom
	until time.Time                                    // told serves so long
}

// How long what was found out serves: at least fleetLives, and longer where it
// costs much, so that at most a twentieth of the time goes into it. What atoms
// told of deployments is counted apart: of ten projects on ten thousand atoms
// it is much to read, and must not keep back who is OFFLINE.
const (
	fleetLives = time.Second
	fleetShare = 20
	maxFleets  = 100
)

// slot finds the place of all who see the same.
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

// forget has the next one look anew.
func (f *fleets) forget(account string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key := range f.all {
		if strings.HasPrefix(key, account+"\n") {
			delete(f.all, key)
		}
	}
}

// fleet gives how everything stands, as of a moment ago.
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

// survey looks at everything.
func (c *console) survey(ctx context.Context, p cloud.Principal, slot *fleetSlot) (*fleet, error) {
	f := &fleet{byAtom: map[string]*row{}, places: map[string]*place{}}
	atoms, err := c.Service.Atoms(ctx, p)
	if err != nil {
		return nil, err
	}
	if f.environments, err = c.Service.Environments(ctx, p); err != nil {
		return nil, err
	}
	attached, err := c.Service.Attachments(ctx, p)
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
		f.problems = append([]*problem{{Kind: "store", Severity: bad, Title: "The control plane's store takes no writes",
			Detail: err.Error(), Next: "Look at the disk of its data folder and at its log. What atoms run goes on; nothing can be changed or asked for until this is mended."}}, f.problems...)
	}
	return f, nil
}

// rollouts looks at what became of what is deployed.
func (c *console) rollouts(ctx context.Context, p cloud.Principal, f *fleet, slot *fleetSlot) error {
	all, err := c.Service.Deployments(ctx, p)
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
		x, err := c.Service.Package(ctx, p, d.PackageID)
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

// told reads what atoms told of a deployment.
func (c *console) told(ctx context.Context, p cloud.Principal, deployment string) (map[string]cloud.DeploymentResult, error) {
	d, err := c.Service.Deployment(ctx, p, deployment)
	if err != nil {
		return nil, err
	}
	all := map[string]cloud.DeploymentResult{}
	for _, r := range d.Results {
		all[r.AtomID] = r
	}
	return all, nil
}

// judge counts what became of a deployment, and has the atoms where it did not
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
			a.Troubles = append(a.Troubles, refusedVersion(o, at, a, r, "went back from %s %s by itself"))
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
		Next:  "What ran of it before goes on. Set what it is missing, deploy one that is mended, or go back to the one before.",
		Href:  "/environments/" + url.PathEscape(at.ID) + "#deployments", Link: "deployments of " + at.Name,
	}
}

// When numbers of an atom are worth a word.
const (
	manyWaiting = 1_000  // messages: from 10,000 on requests are refused
	manyBacklog = 10_000 // executions
	slowChange  = 2 * time.Minute
)

// explained takes out what an atom says of its health where that is about a
// project whose deployment tells it, and more.
func (r *row) explained(project string) {
	if health := r.Heartbeat.Health; strings.HasPrefix(health, project+": ") && !strings.Contains(health, "\n") {
		r.Troubles = slices.DeleteFunc(r.Troubles, func(p *problem) bool { return p.Kind == "health" })
	}
}

// troubles finds what is wrong with an atom by what it told of itself.
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
		add("silent", warning, "has joined and never asked", waits, "Start it on its machine: valence run --data DIR, with the folder of valence join.").Since = r.Enrolled
	case r.Status != cloud.Online:
		add("offline", bad, "is OFFLINE", waits, "See that valence run is running on "+orMachine(r.Host)+" and can reach this address outwards. "+
			"If it runs, it works on with what it has. If it is gone for good, revoke it.").Since = r.LastSeen
	case r.Heartbeat.Health != "" && r.Heartbeat.Health != "ok":
		add("health", bad, "says that it is not well", r.Heartbeat.Health, "Read its log here, or on "+orMachine(r.Host)+".")
	}
	if r.Status == cloud.Online && r.Applied != r.Generation {
		if at := time.UnixMilli(r.Generation); time.Since(at) > slowChange {
			add("changing", warning, "has not taken what is wanted of it", "", "Look at the results of its deployments, and at its log.").Since = at
		}
	}
	if r.Environment == nil {
		add("nowhere", warning, "is in no environment", "Nothing is deployed to it.", "Attach it to one, or revoke it if it was retired.")
	}
	if r.Heartbeat.Failed > 0 {
		p := add("failed", warning, "has "+plural(int(r.Heartbeat.Failed), "failed execution", "failed executions"), "",
			"See why here. On its machine, valence failed lists them by cause and resubmits them.")
		p.Href, p.Link = "/executions?status=ERROR&atom="+url.QueryEscape(r.ID), "failed executions"
	}
	if r.Waiting >= manyWaiting && r.Status == cloud.Online {
		add("waiting", warning, "takes requests slower than they come", waits, "From 10,000 on, further ones are refused.")
	}
	if r.Heartbeat.Backlog >= manyBacklog {
		add("backlog", warning, "has a backlog of "+number(r.Heartbeat.Backlog), "", "It works slower than work comes. Look which process is behind, and whether the system it calls is slow.")
	}
	return all
}

func orMachine(host string) string {
	if host == "" {
		return "its machine"
	}
	return host
}

// groupFrom is from how many problems of a kind on they are shown as one.
const groupFrom = 4

// ofKind names many problems of a kind.
var ofKind = map[string]struct{ title, link, state string }{
	"offline":  {"%s atoms are OFFLINE", "all that are OFFLINE", "offline"},
	"silent":   {"%s atoms have joined and never asked", "all of them", "trouble"},
	"health":   {"%s atoms say that they are not well", "all of them", "trouble"},
	"changing": {"%s atoms have not taken what is wanted of them", "all of them", "changing"},
	"nowhere":  {"%s atoms are in no environment", "all of them", "trouble"},
	"failed":   {"%s atoms have failed executions", "all failed executions", ""},
	"waiting":  {"%s atoms take requests slower than they come", "all of them", "trouble"},
	"backlog":  {"%s atoms have a large backlog", "all of them", "trouble"},
}

// sum puts together what is wrong: the worst first, many of a kind as one.
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

// together makes one problem of many of a kind.
func together(all []*problem) *problem {
	first := *all[0]
	var names []string
	for _, p := range all[:groupFrom-1] {
		names = append(names, p.Title)
	}
	first.Detail = strings.Join(names, "; ") + fmt.Sprintf("; and %s more.", number(len(all)-len(names)))
	for _, p := range all {
		if p.Since.After(first.Since) {
			first.Since = p.Since // the last one
		}
	}
	kind, known := ofKind[first.Kind]
	if !known {
		first.Title = number(len(all)) + " atoms did not take a version that is deployed to them"
		return &first
	}
	first.Title, first.Link = fmt.Sprintf(kind.title, number(len(all))), kind.link
	first.Href = "/?state=" + kind.state
	if kind.state == "" {
		first.Href = "/executions?status=ERROR"
	}
	return &first
}
