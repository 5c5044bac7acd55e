package cloud

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"valence/internal/wire"
)

// Executions sends execution requests to atoms and reads the records of
// executions.
type Executions struct{ *core }

// Limits of execution requests.
const (
	maxWaiting  = 10_000  // undelivered instructions per atom
	maxDocument = 8 << 20 // bytes
	maxProps    = 1 << 20
)

const (
	typeManual = "exec_manual"
	typeRetry  = "retry_manual"
)

// Prefixes of ExecutionRecord.Execution in records of requests that did not
// become an execution.
const (
	notRunPrefix    = "none-"
	withdrawnPrefix = "withdrawn-"
)

func mailboxFull() error {
	return &Error{ErrBusy, fmt.Sprintf("the atom's mailbox is full, with %d instructions: retry later", maxWaiting)}
}

// Execute asks an atom to run a process, named by id or by a unique name. When
// it returns, the request is on disk and will be delivered. If the idempotency
// key was used before, Execute returns the first request's id, or ErrConflict
// if that was for another process or atom.
func (s *Executions) Execute(ctx context.Context, p Principal, r ExecutionRequest) (id string, err error) {
	if r.IdempotencyKey != "" && len(r.IdempotencyKey) > 255 {
		return "", invalid("idempotencyKey", "must be at most 255 characters")
	}
	if len(r.Document) > maxDocument || len(r.Props) > maxProps {
		return "", invalid("document", "a document must be at most %d MiB and properties at most %d MiB", maxDocument>>20, maxProps>>20)
	}
	var props map[string]json.RawMessage
	if len(r.Props) > 0 && json.Unmarshal(r.Props, &props) != nil {
		return "", invalid("DynamicProcessProperties", "must be an object")
	}
	if err := s.resolveTarget(p, &r); err != nil {
		return "", err
	}
	line := s.mailboxes.of(r.AtomID)
	if line.length() >= maxWaiting {
		return "", mailboxFull()
	}
	if err := s.checkWaitingQuota(p.Account); err != nil {
		return "", err
	}
	r.ID, r.Account, r.By, r.Created = "executionrecord-"+newID(), p.Account, p.User, time.Now().UTC()
	m := &Instruction{Account: p.Account, AtomID: r.AtomID, Request: r.ID, Created: r.Created, Instruction: wire.Instruction{
		ID: s.mailboxes.nextID(), Kind: wire.KindExecute,
		Execute: &wire.Execute{Request: r.ID, Process: r.ProcessName, Props: r.Props, Document: r.Document, DocumentType: r.DocumentType},
	}}
	// The write is not canceled with the caller: a stored request is delivered.
	id, err = s.store.Enqueue(context.WithoutCancel(ctx), &r, m)
	if err != nil {
		return "", unavailable(err)
	}
	if id != r.ID {
		return s.repeatedRequest(ctx, &r, id)
	}
	line.add(m.ID)
	s.o.Metrics.Request()
	return id, s.withdrawIfRevoked(ctx, r.AtomID)
}

// withdrawIfRevoked ends requests that were enqueued while their atom was being
// revoked.
func (s *core) withdrawIfRevoked(ctx context.Context, atom string) error {
	s.mu.RLock()
	a := s.state.atoms[atom]
	s.mu.RUnlock()
	if a == nil || !a.Revoked {
		return nil
	}
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	if err := s.withdraw(ctx, c, a); err != nil {
		return err
	}
	return s.commit(ctx, c)
}

// repeatedRequest returns the id of the first request with an idempotency key
// if it was for the same process and atom. Their documents are not compared: a
// retry may have composed them again.
func (s *Executions) repeatedRequest(ctx context.Context, r *ExecutionRequest, id string) (string, error) {
	first, err := s.store.ExecutionRequest(ctx, r.Account, id)
	if err != nil {
		return "", unavailable(err)
	}
	if first != nil && (first.AtomID != r.AtomID || first.ProcessID != r.ProcessID) {
		return "", conflict("the idempotency key %q was used for another process or atom: use a new key for each request", r.IdempotencyKey)
	}
	return id, nil
}

// resolveTarget sets the ids of the atom and the process of a request.
func (s *Executions) resolveTarget(p Principal, r *ExecutionRequest) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a, err := s.atomFor(p, "execution.create", r.AtomID)
	if err != nil {
		return err
	}
	if a.Revoked {
		return notFound("atom", r.AtomID)
	}
	r.AtomID = a.ID
	if r.ProcessID == "" {
		if r.ProcessName == "" {
			return invalid("processId", "is required, or processName")
		}
		if r.ProcessID = s.state.processNamed(p, a, r.ProcessName); r.ProcessID == "" {
			return notFound("process", r.ProcessName)
		}
	}
	c := owned(s.state.components, r.ProcessID, p.Account, func(c *Component) string { return c.Account })
	if c == nil {
		return notFound("process", r.ProcessID)
	}
	if s.state.deployedProcess(a.ID, c.ID) == nil {
		return invalid("processId", "the process %s is not deployed to the atom %s", c.Name, a.Name)
	}
	r.ProcessName = c.Name
	return nil
}

// recordWatchers wakes calls that wait for the record of a request.
type recordWatchers struct {
	mu  sync.Mutex
	all map[string][]chan struct{}
}

func (w *recordWatchers) add(request string) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[string][]chan struct{}{}
	}
	ch := make(chan struct{}, 1)
	w.all[request] = append(w.all[request], ch)
	return ch
}

func (w *recordWatchers) remove(request string, ch chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	rest := w.all[request][:0:0]
	for _, x := range w.all[request] {
		if x != ch {
			rest = append(rest, x)
		}
	}
	if w.all[request] = rest; len(rest) == 0 {
		delete(w.all, request)
	}
}

// notifyAll wakes all waiting calls.
func (w *recordWatchers) notifyAll() {
	w.mu.Lock()
	all := slices.Collect(maps.Keys(w.all))
	w.mu.Unlock()
	for _, request := range all {
		w.notify(request)
	}
}

func (w *recordWatchers) notify(request string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ch := range w.all[request] {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// WaitRecord returns the record of a request. It waits up to wait for the
// execution to end and then returns the current record, or nil if the atom has
// reported nothing. It returns ErrNotFound if there is no such request.
func (s *Executions) WaitRecord(ctx context.Context, p Principal, request string, wait time.Duration) (*ExecutionRecord, error) {
	if err := p.Allow("execution.read"); err != nil {
		return nil, err
	}
	r, err := s.findRequest(ctx, p, request)
	if err != nil {
		return nil, err
	}
	ch := s.recordWatchers.add(request)
	defer s.recordWatchers.remove(request, ch)
	timer := time.NewTimer(max(wait, 0))
	defer timer.Stop()
	for over := wait <= 0; ; {
		found, _, err := s.store.Records(ctx, r.Account, RecordFilter{RequestID: request}, Cursor{}, 1)
		if err != nil {
			return nil, err
		}
		if len(found) > 0 && (over || found[0].Ended()) {
			return found[0], nil
		}
		if over {
			return nil, nil
		}
		select {
		case <-ch:
		case <-timer.C:
			over = true
		case <-s.stopping:
			over = true
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// findRequest returns a visible request.
func (s *Executions) findRequest(ctx context.Context, p Principal, id string) (*ExecutionRequest, error) {
	r, err := s.store.ExecutionRequest(ctx, p.Account, id)
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if r == nil || !p.sees(s.state.environmentID(r.AtomID)) {
		return nil, notFound("execution request", id)
	}
	return r, nil
}

// ExecutionRequest returns an execution request without its document.
func (s *Executions) ExecutionRequest(ctx context.Context, p Principal, id string) (*ExecutionRequest, error) {
	if err := p.Allow("execution.read"); err != nil {
		return nil, err
	}
	return s.findRequest(ctx, p, id)
}

// Record returns the record with an id.
func (s *Executions) Record(ctx context.Context, p Principal, id string) (*ExecutionRecord, error) {
	found, _, err := s.Records(ctx, p, RecordFilter{ID: id}, Cursor{}, 1)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, notFound("execution record", id)
	}
	return found[0], nil
}

// Records returns visible records of the account, newest first. A zero next is
// the end.
func (s *Executions) Records(ctx context.Context, p Principal, f RecordFilter, after Cursor, limit int) (found []*ExecutionRecord, next Cursor, err error) {
	if err := p.Allow("execution.read"); err != nil {
		return nil, Cursor{}, err
	}
	if len(p.Environments) > 0 {
		asked := f.Environments
		f.Environments = p.Environments
		if len(asked) > 0 {
			f.Environments = slices.DeleteFunc(slices.Clone(asked), func(e string) bool { return !p.sees(e) })
			if len(f.Environments) == 0 {
				return nil, Cursor{}, nil
			}
		}
	}
	return s.store.Records(ctx, p.Account, f, after, min(max(limit, 1), 1000))
}

// Cancel asks an atom to cancel an execution, named by the id of its record or
// of its request. It returns when the instruction is on disk.
func (s *Executions) Cancel(ctx context.Context, p Principal, id string) error {
	if err := p.Allow("execution.cancel"); err != nil {
		return err
	}
	atom, what, request := "", "", ""
	if strings.HasPrefix(id, "executionrecord-") {
		r, err := s.findRequest(ctx, p, id)
		if err != nil {
			return err
		}
		atom, what, request = r.AtomID, r.ID, r.ID
	} else {
		found, _, err := s.store.Records(ctx, p.Account, RecordFilter{ID: id, Environments: p.Environments}, Cursor{}, 1)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return notFound("execution", id)
		}
		r := found[0]
		if r.Ended() {
			return conflict("the execution has already ended with status %s", r.Status)
		}
		atom, what, request = r.AtomID, r.RequestID, r.RequestID
		if what == "" {
			what = r.Execution // started without a request: the atom's own id
		}
	}
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	c.enqueue(ctx, p.Account, atom, request, wire.Instruction{Kind: wire.KindCancel, Cancel: what})
	detail := ""
	if a := s.state.atoms[atom]; a != nil {
		detail = "on " + s.atomTitle(a)
	}
	c.audit(p, "execution.cancel", id, detail)
	return s.commit(ctx, c)
}
