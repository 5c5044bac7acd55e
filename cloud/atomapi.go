package cloud

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"time"

	"valence/internal/wire"
)

// AtomAPI serves the requests of atoms that package cloud/gate has authenticated.
type AtomAPI struct{ *core }

// Peer is the identity of an atom.
type Peer struct {
	ID, Account, Name string
	Key               ed25519.PublicKey
	Revoked           bool
}

// Peer returns the atom with an id, of any account.
func (s *AtomAPI) Peer(id string) (Peer, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a := s.state.atoms[id]
	if a == nil {
		return Peer{}, false
	}
	return Peer{a.ID, a.Account, a.Name, a.Key, a.Revoked}, true
}

// RecordHeartbeat stores an atom's heartbeat. It returns false if the atom must
// send its triggers: the heartbeat had only their digest, and it is unknown
// here.
func (s *AtomAPI) RecordHeartbeat(atom string, h wire.Heartbeat, applied int64) (known bool) {
	h.Version, h.Host, h.Health = sanitize(h.Version, maxWord), sanitize(h.Host, maxWord), sanitize(h.Health, maxText)
	h.Triggers = h.Triggers[:min(len(h.Triggers), maxTriggers)]
	for i := range h.Triggers {
		l := &h.Triggers[i]
		l.Process, l.Kind, l.State = sanitize(l.Process, maxWord), sanitize(l.Kind, maxWord), sanitize(l.State, maxWord)
		l.Cron, l.Zone = sanitize(l.Cron, maxWord), sanitize(l.Zone, maxWord)
	}
	h.Features = h.Features[:min(len(h.Features), maxFeatures)]
	for i := range h.Features {
		h.Features[i] = sanitize(h.Features[i], maxWord)
	}
	news, known := s.mailboxes.of(atom).recordHeartbeat(h, applied)
	if news && s.cluster != nil {
		signal(s.cluster.urgent)
	}
	return known
}

// Acknowledge deletes delivered instructions of an atom and ignores unknown ids. If
// the store is not shared, unknown ids do not reach it.
func (s *AtomAPI) Acknowledge(ctx context.Context, atom string, ids []int64) error {
	line := s.mailboxes.of(atom)
	if s.cluster == nil { // another control plane may have delivered instructions unknown here
		ids = line.onlyUndelivered(ids)
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

// Limits of one response to a poll.
const (
	maxInstructions = 100
	maxAnswer       = 16 << 20 // bytes, approximately
)

// Next returns the due instructions of an atom, and its desired state if generation
// is not the newest. If there is nothing, the store is not used, and wait is
// the time until the next call; 0 means after Notify.
func (s *AtomAPI) Next(ctx context.Context, atom string, generation int64) (*wire.PollResponse, time.Duration, error) {
	answer := &wire.PollResponse{}
	line := s.mailboxes.of(atom)
	ids, wait := line.nextBatch(maxInstructions)
	if len(ids) > 0 {
		instructions, err := s.store.Instructions(ctx, atom, ids, maxAnswer)
		if err != nil {
			line.requeue()
			return nil, 0, unavailable(err)
		}
		line.markDelivered(ids, instructions)
		for _, m := range instructions {
			answer.Instructions = append(answer.Instructions, m.Instruction)
		}
		s.o.Metrics.Delivered(len(instructions))
	}
	if s.latestGeneration(atom) != generation {
		d, err := s.desired(atom)
		switch {
		case err != nil && len(answer.Instructions) == 0:
			return nil, 0, err
		case err != nil:
			s.log.Error("cannot compute the atom's desired state", "atom", atom, "error", err)
		default:
			answer.Desired = d
		}
	}
	return answer, wait, nil
}

// latestGeneration returns the generation of an atom's desired state.
func (s *AtomAPI) latestGeneration(atom string) int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if a := s.state.atoms[atom]; a != nil {
		return s.state.generation(a)
	}
	return 0
}

// RaiseGeneration assigns an atom a new generation if it reports one above the
// newest, which happens after an older backup was restored. Generations are
// times, so one in the far future is ignored.
func (s *AtomAPI) RaiseGeneration(ctx context.Context, atom string, generation int64) error {
	if generation <= s.latestGeneration(atom) || generation > time.Now().Add(24*time.Hour).UnixMilli() {
		return nil
	}
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	a := s.state.atoms[atom]
	if a == nil || a.Revoked || generation <= s.state.generation(a) {
		return nil
	}
	s.lastRevision = max(s.lastRevision, generation)
	next := *a
	next.Revision = s.nextRevision()
	c.put(&next)
	return s.commit(ctx, c)
}

// Notify returns a channel that holds a token when there may be something new
// for an atom.
func (s *AtomAPI) Notify(atom string) <-chan struct{} { return s.mailboxes.of(atom).notify }

// Wake puts a token into the channel of Notify.
func (s *AtomAPI) Wake(atom string) { s.mailboxes.of(atom).wake() }

// Requeue makes unacknowledged instructions of an atom due again, because the last
// response may be lost.
func (s *AtomAPI) Requeue(atom string) { s.mailboxes.of(atom).requeue() }

// RecordRefusal counts a refused request and adds it to the audit log of the
// atom's account, if known.
func (s *AtomAPI) RecordRefusal(ctx context.Context, peer Peer, code, from string) {
	s.recordRefusal(ctx, Principal{Account: peer.Account, User: "atom " + peer.Name, From: from}, code, peer.ID)
}

// OpenPackage opens the archive of a package that is or was deployed to the
// atom's environment, or with which the atom is to replay executions.
func (s *AtomAPI) OpenPackage(ctx context.Context, atom, sha string) (io.ReadSeekCloser, error) {
	// Another control plane may have deployed it just now.
	if err := s.cluster.Refresh(ctx); err != nil {
		return nil, err
	}
	s.mu.RLock()
	a, allowed := s.state.atoms[atom], false
	if at := s.state.attachmentOf[atom]; at != nil {
		for _, d := range s.state.deployments {
			if x := s.state.packages[d.PackageID]; d.EnvironmentID == at.EnvironmentID && x != nil && x.SHA256 == sha {
				allowed = true
				break
			}
		}
	}
	allowed = allowed || a != nil && s.state.replaysWith(atom, sha)
	s.mu.RUnlock()
	if !allowed {
		return nil, notFound("package", sha)
	}
	return s.openArchive(ctx, Principal{Account: a.Account, User: "atom " + a.Name}, sha)
}

// StoreReports stores what an atom reports. Repeating a report changes nothing.
func (s *AtomAPI) StoreReports(ctx context.Context, atom string, r wire.Reports) error {
	if err := s.cluster.Refresh(ctx); err != nil { // it may refer to a change by another control plane
		return err
	}
	s.mu.RLock()
	a := s.state.atoms[atom]
	var records []*ExecutionRecord
	var results []DeploymentResult
	if a != nil {
		for i := range r.Executions {
			records = append(records, s.newRecord(a, &r.Executions[i]))
		}
		for _, d := range r.Deployments {
			results = append(results, s.deploymentResults(a, d)...)
		}
	}
	s.mu.RUnlock()
	if a == nil {
		return notFound("atom", atom)
	}
	if r.LogsFor != 0 {
		if err := s.storeLog(ctx, atom, r.LogsFor, r.Logs); err != nil {
			return err
		}
	}
	if r.Replay != nil {
		if err := s.storeReplay(ctx, atom, r.Replay); err != nil {
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
			s.recordWatchers.notify(x.RequestID)
		}
		if x.Ended() {
			s.o.Metrics.Ended(x.Status)
		}
	}
	return nil
}

// recordStatuses maps an atom's statuses to those of execution records.
var recordStatuses = map[string]string{
	wire.StatusAccepted: Enqueued, wire.StatusWaiting: InProcess, wire.StatusHeld: InProcess, wire.StatusRunning: InProcess,
	wire.StatusCompleted: Complete, wire.StatusCompletedWithWarnings: CompleteWarn, wire.StatusFailed: Failed, wire.StatusExpired: Failed,
	wire.StatusCancelled: Aborted, wire.StatusSuperseded: Discarded, wire.StatusRejected: Failed,
}

// executionTypes maps the start of an execution to its type in the platform API.
var executionTypes = map[string]string{
	wire.StartedManually: typeManual, wire.StartedByListener: "exec_listener", wire.StartedBySubscription: "exec_listener",
	wire.StartedBySchedule: "exec_sched", wire.StartedByRetry: typeRetry, wire.StartedByHandoff: "sub_process",
}

// newRecord returns the record of a reported execution. The caller holds mu.
func (s *AtomAPI) newRecord(a *Atom, x *wire.ExecutionReport) *ExecutionRecord {
	x.Execution, x.Process, x.Original, x.Error = sanitize(x.Execution, maxWord), sanitize(x.Process, maxWord), sanitize(x.Original, maxWord), sanitize(x.Error, maxText)
	if now := time.Now(); x.Received.Before(earliestExecution) || x.Received.After(now.Add(maxClockSkew)) { // it would be listed first forever and never be purged
		x.Received = now
	}
	r := &ExecutionRecord{
		ID: recordID(x.Received), RequestID: x.Request, Account: a.Account, AtomID: a.ID, AtomName: a.Name, EnvironmentID: s.state.environmentID(a.ID),
		Execution: x.Execution, ProcessID: s.state.processID(a.ID, x.Process), ProcessName: x.Process, Type: executionTypes[x.Kind], Status: recordStatuses[x.Status],
		Time: x.Received.UTC(), Message: x.Error, OriginalID: x.Original, In: validTraffic(x.In), Out: validTraffic(x.Out), Document: validDocument(x),
	}
	if x.Status == wire.StatusRejected && x.Execution != "" { // its caller was told, so it needs no operator
		r.Status = CompleteWarn
	}
	if r.Execution == "" { // the request did not become an execution
		r.Execution = notRunPrefix + x.Request
	}
	if r.Type == "" {
		r.Type = typeManual
	}
	if r.Status == "" {
		r.Status = InProcess
	}
	if x.Status == wire.StatusExpired && r.Message == "" {
		r.Message = "the execution expired"
	}
	if !x.Ended.IsZero() {
		r.Duration = max(0, x.Ended.Sub(x.Received))
	}
	return r
}

// Reported times before earliestExecution, or ahead by more than maxClockSkew,
// are replaced by the current time.
var earliestExecution = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

const maxClockSkew = 24 * time.Hour

func validDocument(x *wire.ExecutionReport) json.RawMessage {
	if string(x.Document) == "null" || len(x.Document) > maxReply {
		return nil
	}
	return x.Document
}

// validTraffic returns nil for negative counts.
func validTraffic(t *wire.Traffic) *wire.Traffic {
	if t == nil || t.Documents < 0 || t.Bytes < 0 {
		return nil
	}
	return t
}

// recordID returns a new id that contains the day, as platform clients expect.
func recordID(at time.Time) string {
	if at.IsZero() {
		at = time.Now()
	}
	return "execution-" + newID() + "-" + at.UTC().Format("2006.01.02")
}

// deploymentResults returns the results of the deployments that a report is
// about. The caller holds mu.
func (s *AtomAPI) deploymentResults(a *Atom, r wire.DeploymentReport) []DeploymentResult {
	var all []DeploymentResult
	add := func(d *Deployment) {
		all = append(all, DeploymentResult{Deployment: d.ID, AtomID: a.ID, State: sanitize(r.State, maxWord), Detail: sanitize(r.Detail, maxText), At: r.At.UTC()})
	}
	environment := s.state.environmentID(a.ID)
	var newest *Deployment
	for _, d := range s.state.activeIn[environment] {
		if x := s.state.packages[d.PackageID]; r.Package == "" || x.SHA256 == r.Package {
			add(d)
		}
	}
	if len(all) > 0 || r.Package == "" {
		return all
	}
	for _, d := range s.state.deployments { // it may have been replaced meanwhile
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
