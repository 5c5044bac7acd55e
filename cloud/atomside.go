package cloud

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"time"

	"valence/internal/wire"
)

// What follows is for cloud/gate, which has made sure of who asks.

// Peer is an atom as its requests are judged.
type Peer struct {
	ID, Account, Name string
	Key               ed25519.PublicKey
	Revoked           bool
}

// Peer finds an atom, whatever its account.
func (s *Service) Peer(id string) (Peer, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a := s.state.atoms[id]
	if a == nil {
		return Peer{}, false
	}
	return Peer{a.ID, a.Account, a.Name, a.Key, a.Revoked}, true
}

// Heard notes that an atom asked, and how it is. It reports false where the
// atom must tell its listeners: it named them, and they are not known here.
func (s *Service) Heard(atom string, h wire.Heartbeat, applied int64) (known bool) {
	h.Version, h.Host, h.Health = legible(h.Version, maxWord), legible(h.Host, maxWord), legible(h.Health, maxText)
	h.Listeners = h.Listeners[:min(len(h.Listeners), maxListeners)]
	for i := range h.Listeners {
		l := &h.Listeners[i]
		l.Process, l.Kind, l.State = legible(l.Process, maxWord), legible(l.Kind, maxWord), legible(l.State, maxWord)
		l.Cron, l.Zone = legible(l.Cron, maxWord), legible(l.Zone, maxWord)
	}
	news, known := s.lines.of(atom).heard(h, applied)
	if news && s.shared != nil {
		signal(s.shared.urgent)
	}
	return known
}

// Acknowledge forgets messages of an atom. What does not wait for it is
// passed over, without asking the store if that is this control plane's alone.
func (s *Service) Acknowledge(ctx context.Context, atom string, ids []int64) error {
	line := s.lines.of(atom)
	if s.shared == nil { // another one may have handed out what is not known here yet
		ids = line.held(ids)
	}
	if len(ids) == 0 {
		return nil
	}
	if err := s.store.Acknowledge(ctx, atom, ids, time.Now().UTC()); err != nil {
		return unavailable(err)
	}
	line.remove(ids)
	return nil
}

// Bounds of one answer to a poll.
const (
	maxMessages = 100
	maxAnswer   = 16 << 20 // bytes, about
)

// Next gives what there is for an atom: messages, and what it is to be like
// where its generation is another. Where there is nothing it reads and writes
// nothing, and tells after how long to ask again at the latest; 0: not before
// Ring.
func (s *Service) Next(ctx context.Context, atom string, generation int64) (*wire.Polled, time.Duration, error) {
	answer := &wire.Polled{}
	line := s.lines.of(atom)
	ids, wait := line.due(maxMessages)
	if len(ids) > 0 {
		messages, err := s.store.Messages(ctx, atom, ids, maxAnswer)
		if err != nil {
			line.unhand()
			return nil, 0, unavailable(err)
		}
		line.given(ids, messages)
		for _, m := range messages {
			answer.Messages = append(answer.Messages, m.Message)
		}
		s.o.Metrics.Delivered(len(messages))
	}
	if s.wants(atom) != generation {
		d, err := s.desired(atom)
		switch {
		case err != nil && len(answer.Messages) == 0:
			return nil, 0, err
		case err != nil:
			s.log.Error("what an atom is to be like cannot be told", "atom", atom, "error", err)
		default:
			answer.Desired = d
		}
	}
	return answer, wait, nil
}

// wants gives the generation that an atom is to have.
func (s *Service) wants(atom string) int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if a := s.state.atoms[atom]; a != nil {
		return s.generation(a)
	}
	return 0
}

// Ahead gives an atom a new generation if it says that it has one that was
// never given: then an older backup of the control plane was restored. A
// generation is a time, so one far from now is not believed.
func (s *Service) Ahead(ctx context.Context, atom string, generation int64) error {
	if generation <= s.wants(atom) || generation > time.Now().Add(24*time.Hour).UnixMilli() {
		return nil
	}
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	a := s.state.atoms[atom]
	if a == nil || a.Revoked || generation <= s.generation(a) {
		return nil
	}
	s.lastRevision = max(s.lastRevision, generation)
	next := *a
	next.Revision = s.revision()
	c.put(&next)
	return s.commit(ctx, c)
}

// Ring holds a token when there may be something new for an atom.
func (s *Service) Ring(atom string) <-chan struct{} { return s.lines.of(atom).ring }

// Wake puts a token into Ring.
func (s *Service) Wake(atom string) { s.lines.of(atom).wake() }

// Returned tells that the last answer may not have reached its atom: what was
// in it is handed out again with the next one.
func (s *Service) Returned(atom string) { s.lines.of(atom).unhand() }

// Refused counts a request of an atom that was not answered, and has it in the
// audit log of its account, where it has one.
func (s *Service) Refused(ctx context.Context, peer Peer, code, from string) {
	s.report(ctx, Principal{Account: peer.Account, User: "atom " + peer.Name, From: from}, code, peer.ID)
}

// AtomPackage opens the archive of a package that is, or was, deployed where
// the atom is attached.
func (s *Service) AtomPackage(ctx context.Context, atom, sha string) (io.ReadSeekCloser, error) {
	// Another control plane may have deployed it just now.
	if err := s.Confirm(ctx); err != nil {
		return nil, err
	}
	s.mu.RLock()
	a, allowed := s.state.atoms[atom], false
	if at := s.state.attachedTo[atom]; at != nil {
		for _, d := range s.state.deployments {
			if x := s.state.packages[d.PackageID]; d.EnvironmentID == at.EnvironmentID && x != nil && x.SHA256 == sha {
				allowed = true
				break
			}
		}
	}
	s.mu.RUnlock()
	if !allowed {
		return nil, missing("package", sha)
	}
	return s.archive(ctx, Principal{Account: a.Account, User: "atom " + a.Name}, sha)
}

// Report takes what an atom reports. The same report again changes nothing.
func (s *Service) Report(ctx context.Context, atom string, r wire.Reports) error {
	if err := s.Confirm(ctx); err != nil { // it may be about what another control plane did just now
		return err
	}
	s.mu.RLock()
	a := s.state.atoms[atom]
	var records []*ExecutionRecord
	var results []DeploymentResult
	if a != nil {
		for i := range r.Executions {
			records = append(records, s.record(a, &r.Executions[i]))
		}
		for _, d := range r.Deployments {
			results = append(results, s.results(a, d)...)
		}
	}
	s.mu.RUnlock()
	if a == nil {
		return missing("atom", atom)
	}
	if r.LogsFor != 0 {
		if err := s.answerLog(ctx, atom, r.LogsFor, r.Logs); err != nil {
			return err
		}
	}
	if len(records)+len(results) == 0 {
		return nil
	}
	if err := s.store.Report(ctx, records, results); err != nil {
		return unavailable(err)
	}
	for _, x := range records {
		if x.RequestID != "" {
			s.waiters.tell(x.RequestID)
		}
		if x.Ended() {
			s.o.Metrics.Ended(x.Status)
		}
	}
	return nil
}

// statuses of the atom as clients of the control plane know them.
var statuses = map[string]string{
	"accepted": Enqueued, "waiting": InProcess, "held": InProcess, "running": InProcess,
	"completed": Complete, "completed_with_warnings": CompleteWarn, "failed": Failed, "expired": Failed,
	"cancelled": Aborted, "superseded": Discarded, "rejected": Failed,
}

var kinds = map[string]string{
	"manual": typeManual, "listener": "exec_listener", "subscribe": "exec_listener", "schedule": "exec_sched", "retry": typeRetry, "handoff": "sub_process",
}

// record makes a record of a report. The caller holds mu.
func (s *Service) record(a *Atom, x *wire.ExecutionReport) *ExecutionRecord {
	x.Execution, x.Process, x.Original, x.Error = legible(x.Execution, maxWord), legible(x.Process, maxWord), legible(x.Original, maxWord), legible(x.Error, maxText)
	if now := time.Now(); x.Received.Before(epoch) || x.Received.After(now.Add(farAhead)) { // it would be first for ever, and never deleted
		x.Received = now
	}
	r := &ExecutionRecord{
		ID: recordID(x.Received), RequestID: x.Request, Account: a.Account, AtomID: a.ID, AtomName: a.Name, EnvironmentID: s.environmentID(a.ID),
		Execution: x.Execution, ProcessID: s.processID(a.ID, x.Process), ProcessName: x.Process, Type: kinds[x.Kind], Status: statuses[x.Status],
		Time: x.Received.UTC(), Message: x.Error, OriginalID: x.Original, In: counted(x.In), Out: counted(x.Out), Document: documentOf(x),
	}
	if r.Execution == "" { // it never came to one
		r.Execution = neverRan + x.Request
	}
	if r.Type == "" {
		r.Type = typeManual
	}
	if r.Status == "" {
		r.Status = InProcess
	}
	if x.Status == "expired" && r.Message == "" {
		r.Message = "the execution expired"
	}
	if !x.Ended.IsZero() {
		r.Duration = max(0, x.Ended.Sub(x.Received))
	}
	return r
}

// epoch is before every execution there is, farAhead beyond what a clock is off
// that anybody looks after.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

const farAhead = 24 * time.Hour

func documentOf(x *wire.ExecutionReport) json.RawMessage {
	if string(x.Document) == "null" || len(x.Document) > maxReply {
		return nil
	}
	return x.Document
}

// counted gives what an atom has counted, nil where no count can be so.
func counted(t *wire.Traffic) *wire.Traffic {
	if t == nil || t.Documents < 0 || t.Bytes < 0 {
		return nil
	}
	return t
}

// recordID gives an id in the form that clients know: it holds the day.
func recordID(at time.Time) string {
	if at.IsZero() {
		at = time.Now()
	}
	return "execution-" + newID() + "-" + at.UTC().Format("2006.01.02")
}

// results maps a report about a generation to the deployments it is about. The
// caller holds mu.
func (s *Service) results(a *Atom, r wire.DeploymentReport) []DeploymentResult {
	var all []DeploymentResult
	add := func(d *Deployment) {
		all = append(all, DeploymentResult{Deployment: d.ID, AtomID: a.ID, State: legible(r.State, maxWord), Detail: legible(r.Detail, maxText), At: r.At.UTC()})
	}
	environment := s.environmentID(a.ID)
	var newest *Deployment
	for _, d := range s.state.active[environment] {
		if x := s.state.packages[d.PackageID]; r.Package == "" || x.SHA256 == r.Package {
			add(d)
		}
	}
	if len(all) > 0 || r.Package == "" {
		return all
	}
	for _, d := range s.state.deployments { // of one that was replaced meanwhile
		x := s.state.packages[d.PackageID]
		if d.EnvironmentID == environment && x != nil && x.SHA256 == r.Package && (newest == nil || d.Created.After(newest.Created)) {
			newest = d
		}
	}
	if newest != nil {
		add(newest)
	}
	return all
}
