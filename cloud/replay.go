package cloud

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"valence/internal/wire"
)

// Limits of replays.
const (
	maxReplays   = 20               // of an account at a time
	replayKept   = time.Hour        // after its request
	replayStarts = time.Minute      // until the atom reports for the first time
	replaySilent = time.Minute      // between two reports
	replayWaits  = 30 * time.Minute // for other replays on the atom
)

// Replays runs executions of an atom's history through packages that are not
// deployed to it. They are kept for an hour.
type Replays struct{ *core }

// ReplayRequest selects executions and the package that replays them.
type ReplayRequest struct {
	EnvironmentID string // or its name
	PackageID     string
	Atom          string // id or name; "": any online atom of the environment
	Last          int    // newest executions of each process
	Statement     []byte // of a publisher, for this environment; may be nil
	Signature     []byte
}

// Replay is a requested replay and its progress.
type Replay struct {
	ID            string          `json:"id"`
	Account       string          `json:"account"`
	EnvironmentID string          `json:"environment"`
	AtomID        string          `json:"atom"` // "": there is no history
	AtomName      string          `json:"atom_name"`
	PackageID     string          `json:"package"`
	Created       time.Time       `json:"created"`
	Updated       time.Time       `json:"updated"`
	Instruction   int64           `json:"instruction"`
	AtomStarted   time.Time       `json:"atom_started,omitzero"` // by its first report
	State         string          `json:"state"`                 // a state of wire.ReplayReport, or wire.ReplayRequested
	Done          int             `json:"done"`
	Total         int             `json:"total"`
	Error         string          `json:"error,omitempty"`
	Result        json.RawMessage `json:"result,omitempty"`
}

func (x *Replay) storageKey() (string, string, string) { return "replay", x.ID, x.Account }

// Ended reports whether the replay has a result or an error.
func (x *Replay) Ended() bool {
	return x.State == wire.ReplayFinished || x.State == wire.ReplayFailed
}

// Start asks an online atom of an environment to replay its newest executions
// with a package. Without a deployment of the project or an atom there is no
// history, and the replay has ended at once without a result.
func (s *Replays) Start(ctx context.Context, p Principal, r ReplayRequest) (Replay, error) {
	c, err := s.begin(ctx)
	if err != nil {
		return Replay{}, err
	}
	defer c.end()
	e, err := s.environmentFor(p, "replay.create", r.EnvironmentID)
	if err != nil {
		return Replay{}, err
	}
	pack := owned(s.state.packages, r.PackageID, p.Account, func(x *Package) string { return x.Account })
	switch {
	case pack == nil:
		return Replay{}, notFound("package", r.PackageID)
	case r.Last < 1 || r.Last > wire.MaxReplays:
		return Replay{}, invalid("last", "must be 1 to %d", wire.MaxReplays)
	}
	if err := checkStatement(r.Statement, r.Signature, pack, e.Name); err != nil {
		return Replay{}, err
	}
	if len(r.Statement) == 0 && checkStatement(pack.Statement, pack.Signature, pack, e.Name) == nil {
		r.Statement, r.Signature = pack.Statement, pack.Signature
	}
	if err := s.makeRoom(c, p.Account); err != nil {
		return Replay{}, err
	}
	now := time.Now().UTC()
	x := &Replay{ID: newID(), Account: p.Account, EnvironmentID: e.ID, PackageID: pack.ID, Created: now, Updated: now, State: wire.ReplayFinished}
	a, why, err := s.chooseAtom(p, e, pack.Project, r.Atom)
	switch {
	case err != nil:
		return Replay{}, err
	case a == nil:
		x.Error = why
	default:
		x.AtomID, x.AtomName, x.State = a.ID, a.Name, wire.ReplayRequested
		x.Instruction = c.enqueue(ctx, p.Account, a.ID, "", wire.Instruction{Kind: wire.KindReplay, Replay: &wire.Replay{
			Deployment: wire.Deployment{Package: pack.SHA256, Project: pack.Project, Version: pack.Version, Statement: r.Statement, Signature: r.Signature}, Last: r.Last,
		}})
		c.wake(a.ID)
		c.audit(p, "replay.create", a.ID, fmt.Sprintf("%s %s on %s in %s, last %d", pack.Project, pack.Version, a.Name, e.Name, r.Last))
	}
	c.put(x)
	return *x, s.commit(ctx, c)
}

// makeRoom deletes old replays of an account. It returns ErrBusy if too many
// others have not ended.
func (s *Replays) makeRoom(c *change, account string) error {
	var ended []*Replay
	pending := 0
	for _, x := range s.state.replays {
		switch {
		case x.Account != account:
		case time.Since(x.Created) > replayKept:
			c.drop(x)
		case x.Ended():
			ended = append(ended, x)
		default:
			pending++
		}
	}
	if pending >= maxReplays {
		return &Error{ErrBusy, fmt.Sprintf("%d replays of this account run already: retry when one has ended", pending)}
	}
	slices.SortFunc(ended, func(a, b *Replay) int { return a.Created.Compare(b.Created) })
	for _, x := range ended[:max(0, len(ended)-maxReplays)] {
		c.drop(x)
	}
	return nil
}

// chooseAtom returns the named atom, or an online one that runs the project, or
// another online one. Without an atom there is no history, and why says so.
func (s *Replays) chooseAtom(p Principal, e *Environment, project, name string) (a *Atom, why string, err error) {
	var online, offline, old []Atom
	for id := range maps.Keys(s.state.atomsIn[e.ID]) {
		x := s.state.atoms[id]
		if x == nil || x.Revoked || name != "" && x.ID != name && x.Name != name {
			continue
		}
		switch x := s.withStatus(x); {
		case x.Status != Online:
			offline = append(offline, x)
		case slices.Contains(x.Heartbeat.Features, wire.KindReplay):
			online = append(online, x)
		default:
			old = append(old, x)
		}
	}
	rank := func(x Atom) int {
		if s.runs(p.Account, &x, project) {
			return 0
		}
		return 1
	}
	slices.SortFunc(online, func(a, b Atom) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a.Name, b.Name)) })
	switch {
	case name != "" && len(online)+len(offline)+len(old) == 0:
		return nil, "", conflict("the environment %s has no atom %s: name one of valence cloud atoms", e.Name, name)
	case s.state.activeIn[e.ID][project] == nil:
		return nil, fmt.Sprintf("the project %s is not deployed to %s yet", project, e.Name), nil
	case len(online) > 0:
		return s.state.atoms[online[0].ID], "", nil
	case len(old) > 0 && old[0].Heartbeat.Version == "":
		return nil, "", conflict("the atom %s has not reported since this control plane started: run the command again in a minute", old[0].Name)
	case len(old) > 0:
		return nil, "", conflict("the atom %s runs version %s, which cannot replay executions: upgrade it, or deploy without --replay", old[0].Name, old[0].Version)
	case len(offline) > 0:
		return nil, "", conflict("no atom of %s is online to replay executions (%s): start one, or deploy without --replay", e.Name, names(offline))
	}
	return nil, fmt.Sprintf("no atom is attached to %s", e.Name), nil
}

// names lists a few atoms.
func names(all []Atom) string {
	const most = 5
	var list []string
	for _, a := range all {
		list = append(list, a.Name)
	}
	slices.Sort(list)
	if len(list) > most {
		list = append(list[:most], "…")
	}
	return strings.Join(list, ", ")
}

// runs reports whether an atom runs a package of a project.
func (s *Replays) runs(account string, a *Atom, project string) bool {
	for _, x := range s.state.packages {
		if x.Account == account && x.Project == project && slices.Contains(a.Heartbeat.Packages, x.SHA256) {
			return true
		}
	}
	return false
}

// Get returns a replay. One whose atom has stopped or no longer reports has
// failed.
func (s *Replays) Get(ctx context.Context, p Principal, id string) (Replay, error) {
	s.mu.RLock()
	x, err := s.find(p, id)
	if err != nil {
		s.mu.RUnlock()
		return Replay{}, err
	}
	found, why := *x, s.lost(x)
	s.mu.RUnlock()
	if why == "" {
		return found, nil
	}
	return s.end(ctx, p, id, s.lost)
}

// Cancel ends a replay. Its atom stops with its next report.
func (s *Replays) Cancel(ctx context.Context, p Principal, id string) error {
	_, err := s.end(ctx, p, id, func(*Replay) string { return "it was cancelled" })
	return err
}

// find returns the replay with an id. The caller holds writing or mu.
func (s *Replays) find(p Principal, id string) (*Replay, error) {
	if err := p.Allow("replay.create"); err != nil { // it shows parts of documents
		return nil, err
	}
	x := owned(s.state.replays, id, p.Account, func(x *Replay) string { return x.Account })
	if x == nil || !p.sees(x.EnvironmentID) {
		return nil, notFound("replay", id)
	}
	return x, nil
}

// lost returns why no further report is expected, or "". The caller holds writing
// or mu.
func (s *Replays) lost(x *Replay) string {
	a := s.state.atoms[x.AtomID]
	if x.Ended() {
		return ""
	}
	if a == nil || a.Revoked {
		return fmt.Sprintf("the atom %s is no longer enrolled", x.AtomName)
	}
	now := s.withStatus(a)
	silent := time.Since(x.Updated)
	switch {
	case !x.AtomStarted.IsZero() && !now.Heartbeat.StartedAt.IsZero() && !now.Heartbeat.StartedAt.Equal(x.AtomStarted):
		return fmt.Sprintf("the atom %s restarted during the replay", x.AtomName)
	case now.Status != Online:
		return fmt.Sprintf("the atom %s went offline during the replay", x.AtomName)
	case x.State == wire.ReplayRequested && silent > replayStarts:
		return fmt.Sprintf("the atom %s did not start the replay within %s", x.AtomName, replayStarts)
	case x.State == wire.ReplayRunning && silent > replaySilent:
		return fmt.Sprintf("the atom %s has not reported for %s", x.AtomName, replaySilent)
	case x.State == wire.ReplayQueued && silent > replayWaits:
		return fmt.Sprintf("other replays occupied the atom %s for %s", x.AtomName, replayWaits)
	}
	return ""
}

// end marks a replay as failed for a reason, unless it has ended or there is no
// reason: by the time of the change, another control plane may have stored a
// report.
func (s *Replays) end(ctx context.Context, p Principal, id string, reason func(*Replay) string) (Replay, error) {
	c, err := s.begin(ctx)
	if err != nil {
		return Replay{}, err
	}
	defer c.end()
	x, err := s.find(p, id)
	if err != nil {
		return Replay{}, err
	}
	if x.Ended() {
		return *x, nil
	}
	why := reason(x)
	if why == "" {
		return *x, nil
	}
	next := *x
	next.State, next.Error, next.Updated = wire.ReplayFailed, why, time.Now().UTC()
	c.put(&next)
	c.Dropped = append(c.Dropped, x.Instruction)
	return next, s.commit(ctx, c)
}

// storeReplay stores the progress of a replay. It withdraws the instruction, so
// that an atom which the replay stops does not repeat it. Reports on a replay
// that has ended are a conflict, and the atom stops.
func (s *AtomAPI) storeReplay(ctx context.Context, atom string, r *wire.ReplayReport) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	var x *Replay
	for _, other := range s.state.replays {
		if other.AtomID == atom && other.Instruction == r.Instruction {
			x = other
		}
	}
	if x == nil || x.Ended() || !x.AtomStarted.IsZero() && !x.AtomStarted.Equal(r.AtomStarted) {
		return conflict("the replay has ended")
	}
	next := *x
	next.Done, next.Total = max(r.Done, 0), max(r.Total, 0)
	next.AtomStarted, next.Updated = r.AtomStarted, time.Now().UTC()
	switch r.State {
	case wire.ReplayQueued, wire.ReplayRunning:
		next.State = r.State
	case wire.ReplayFinished:
		if next.State, next.Result = r.State, r.Result; len(r.Result) > wire.MaxReplayResult || !json.Valid(r.Result) {
			next.State, next.Result, next.Error = wire.ReplayFailed, nil, "the atom sent an invalid result"
		}
	default:
		next.State, next.Error = wire.ReplayFailed, sanitize(r.Error, maxText)
	}
	c.put(&next)
	if x.State == wire.ReplayRequested {
		c.Dropped = append(c.Dropped, x.Instruction)
	}
	return s.commit(ctx, c)
}

// replaysWith reports whether an atom may read a package because it is to replay
// executions with it. The caller holds mu.
func (st *state) replaysWith(atom, sha string) bool {
	for _, x := range st.replays {
		if pack := st.packages[x.PackageID]; x.AtomID == atom && !x.Ended() && pack != nil && pack.SHA256 == sha {
			return true
		}
	}
	return false
}

// dropReplays deletes the replays requested before a time.
func (s *janitor) dropReplays(ctx context.Context, before time.Time) error {
	s.mu.RLock()
	none := len(s.state.replays) == 0
	s.mu.RUnlock()
	if none {
		return nil
	}
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	for _, x := range s.state.replays {
		if x.Created.Before(before) {
			c.drop(x)
		}
	}
	if len(c.drops) == 0 {
		return nil
	}
	return s.commit(ctx, c)
}
