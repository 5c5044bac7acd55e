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

// Bounds of what an atom is asked for.
const (
	maxWaiting  = 10_000  // messages that one atom may have waiting
	maxDocument = 8 << 20 // bytes
	maxProps    = 1 << 20
)

const (
	typeManual = "exec_manual"
	typeRetry  = "retry_manual"
)

// What stands for the atom's own id in the record of a request that never
// became an execution.
const (
	neverRan  = "none-"
	withdrawn = "withdrawn-"
)

func busy() error {
	return &Error{ErrBusy, fmt.Sprintf("the atom has %d messages that it did not take yet; send this again later", maxWaiting)}
}

// Execute asks an atom to run a process, named by its id or, where that is
// unique, by name. When it returns, the request is on disk: the atom gets it,
// whatever happens to the control plane. The same IdempotencyKey gives the id
// of the request that was made with it first, and ErrConflict where that one
// was for another process or atom.
func (s *Service) Execute(ctx context.Context, p Principal, r ExecutionRequest) (id string, err error) {
	if r.IdempotencyKey != "" && len(r.IdempotencyKey) > 255 {
		return "", invalid("idempotencyKey", "has more than 255 characters")
	}
	if len(r.Document) > maxDocument || len(r.Props) > maxProps {
		return "", invalid("document", "a document has at most %d MiB, properties %d", maxDocument>>20, maxProps>>20)
	}
	var props map[string]json.RawMessage
	if len(r.Props) > 0 && json.Unmarshal(r.Props, &props) != nil {
		return "", invalid("DynamicProcessProperties", "is no object")
	}
	if err := s.target(p, &r); err != nil {
		return "", err
	}
	line := s.lines.of(r.AtomID)
	if line.length() >= maxWaiting {
		return "", busy()
	}
	r.ID, r.Account, r.By, r.Created = "executionrecord-"+newID(), p.Account, p.User, time.Now().UTC()
	m := &Message{Account: p.Account, AtomID: r.AtomID, Request: r.ID, Created: r.Created, Message: wire.Message{
		ID: s.lines.next(), Kind: wire.KindExecute,
		Execute: &wire.Execute{Request: r.ID, Process: r.ProcessName, Props: r.Props, Document: r.Document, DocumentType: r.DocumentType},
	}}
	// Whether the caller waits or not: what is stored is to be handed out.
	id, err = s.store.Enqueue(context.WithoutCancel(ctx), &r, m)
	if err != nil {
		return "", unavailable(err)
	}
	if id != r.ID {
		return s.repeated(ctx, &r, id)
	}
	line.add(m.ID)
	s.o.Metrics.Request()
	return id, s.takeBack(ctx, r.AtomID)
}

// takeBack has requests end as errors that were made while their atom was
// revoked: nobody else would.
func (s *Service) takeBack(ctx context.Context, atom string) error {
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

// repeated gives the id of the request that was made first under a key, if it
// was for the same process on the same atom. What else it holds is not compared:
// who asks again because of a lost answer may have composed it anew.
func (s *Service) repeated(ctx context.Context, r *ExecutionRequest, id string) (string, error) {
	first, err := s.store.Request(ctx, r.Account, id)
	if err != nil {
		return "", unavailable(err)
	}
	if first != nil && (first.AtomID != r.AtomID || first.ProcessID != r.ProcessID) {
		return "", conflict("the idempotency key %q was used for another process or atom: use a key of its own for each request", r.IdempotencyKey)
	}
	return id, nil
}

// target finds the atom and the process of a request.
func (s *Service) target(p Principal, r *ExecutionRequest) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a, err := s.atomFor(p, "execution.create", r.AtomID)
	if err != nil {
		return err
	}
	if a.Revoked {
		return missing("atom", r.AtomID)
	}
	r.AtomID = a.ID
	if r.ProcessID == "" {
		if r.ProcessName == "" {
			return invalid("processId", "name the process")
		}
		if r.ProcessID = s.named(p, a, r.ProcessName); r.ProcessID == "" {
			return missing("process", r.ProcessName)
		}
	}
	c := owned(s.state.components, r.ProcessID, p.Account, func(c *Component) string { return c.Account })
	if c == nil {
		return missing("process", r.ProcessID)
	}
	if s.deployed(a.ID, c.ID) == nil {
		return invalid("processId", "the process %s is not deployed to the atom %s", c.Name, a.Name)
	}
	r.ProcessName = c.Name
	return nil
}

// named finds a process by its name: the one that is deployed to the atom, of
// which there is one at most, otherwise any that was packaged. It is "" where
// there is none.
func (s *Service) named(p Principal, a *Atom, name string) (id string) {
	for _, c := range s.state.components {
		if c.Account != p.Account || c.Name != name {
			continue
		}
		if id = c.ID; s.deployed(a.ID, id) != nil {
			return id
		}
	}
	return id
}

// waiters are those who wait for the record of a request.
type waiters struct {
	mu  sync.Mutex
	all map[string][]chan struct{}
}

func (w *waiters) add(request string) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[string][]chan struct{}{}
	}
	ch := make(chan struct{}, 1)
	w.all[request] = append(w.all[request], ch)
	return ch
}

func (w *waiters) remove(request string, ch chan struct{}) {
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

// tellAll lets everybody look again.
func (w *waiters) tellAll() {
	w.mu.Lock()
	all := slices.Collect(maps.Keys(w.all))
	w.mu.Unlock()
	for _, request := range all {
		w.tell(request)
	}
}

func (w *waiters) tell(request string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ch := range w.all[request] {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// WaitRecord gives the record of a request. It waits up to wait for the end of
// the execution and then gives what there is: nil where the atom has reported
// nothing yet. A request that there is not gives ErrNotFound.
func (s *Service) WaitRecord(ctx context.Context, p Principal, request string, wait time.Duration) (*ExecutionRecord, error) {
	if err := p.Allow("execution.read"); err != nil {
		return nil, err
	}
	r, err := s.request(ctx, p, request)
	if err != nil {
		return nil, err
	}
	ch := s.waiters.add(request)
	defer s.waiters.remove(request, ch)
	timer := time.NewTimer(max(wait, 0))
	defer timer.Stop()
	for over := wait <= 0; ; {
		found, _, err := s.store.Records(ctx, r.Account, RecordFilter{RequestID: request}, Place{}, 1)
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
		case <-s.leaving:
			over = true
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Leave has those who wait for a record answered at once with what there is,
// now and from now on: the control plane is about to stop.
func (s *Service) Leave() { s.leave.Do(func() { close(s.leaving) }) }

// request finds one that the principal may see.
func (s *Service) request(ctx context.Context, p Principal, id string) (*ExecutionRequest, error) {
	r, err := s.store.Request(ctx, p.Account, id)
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if r == nil || !p.in(s.environmentID(r.AtomID)) {
		return nil, missing("execution request", id)
	}
	return r, nil
}

// Request gives an execution request, without its document.
func (s *Service) Request(ctx context.Context, p Principal, id string) (*ExecutionRequest, error) {
	if err := p.Allow("execution.read"); err != nil {
		return nil, err
	}
	return s.request(ctx, p, id)
}

// Record gives one, by its id.
func (s *Service) Record(ctx context.Context, p Principal, id string) (*ExecutionRecord, error) {
	found, _, err := s.Records(ctx, p, RecordFilter{ID: id}, Place{}, 1)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, missing("execution record", id)
	}
	return found[0], nil
}

// Records gives the records of the account that the principal may see, newest
// first; the list goes on after next, and is at its end where that is zero.
func (s *Service) Records(ctx context.Context, p Principal, f RecordFilter, after Place, limit int) (found []*ExecutionRecord, next Place, err error) {
	if err := p.Allow("execution.read"); err != nil {
		return nil, Place{}, err
	}
	if len(p.Environments) > 0 {
		asked := f.Environments
		f.Environments = p.Environments
		if len(asked) > 0 {
			f.Environments = slices.DeleteFunc(slices.Clone(asked), func(e string) bool { return !p.in(e) })
			if len(f.Environments) == 0 {
				return nil, Place{}, nil
			}
		}
	}
	return s.store.Records(ctx, p.Account, f, after, min(max(limit, 1), 1000))
}

// CancelExecution asks the atom to cancel an execution, named by the id of its
// record or of its request. It returns when that is on disk.
func (s *Service) CancelExecution(ctx context.Context, p Principal, id string) error {
	if err := p.Allow("execution.cancel"); err != nil {
		return err
	}
	atom, what, request := "", "", ""
	if strings.HasPrefix(id, "executionrecord-") {
		r, err := s.request(ctx, p, id)
		if err != nil {
			return err
		}
		atom, what, request = r.AtomID, r.ID, r.ID
	} else {
		found, _, err := s.store.Records(ctx, p.Account, RecordFilter{ID: id, Environments: p.Environments}, Place{}, 1)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return missing("execution", id)
		}
		r := found[0]
		if r.Ended() {
			return conflict("the execution has ended already, as %s", r.Status)
		}
		atom, what, request = r.AtomID, r.RequestID, r.RequestID
		if what == "" {
			what = r.Execution // not asked for by a request: the atom's own id
		}
	}
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	c.message(ctx, p.Account, atom, request, wire.Message{Kind: wire.KindCancel, Cancel: what})
	c.audit(p, "execution.cancel", id, "")
	return s.commit(ctx, c)
}
