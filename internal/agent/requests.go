package agent

import (
	"cmp"
	"context"
	"errors"
	"mime"
	"slices"
	"strings"
	"sync"
	"time"

	"valence/atom"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/wire"
)

// requests are the execution requests that run here and whose end is to be
// reported. An execution may end before its request is entered: what ends
// meanwhile is kept until it is.
type requests struct {
	mu       sync.Mutex
	by       map[string][]*open // by execution
	entering int
	late     []atom.Ended
	undone   map[string]bool // requests that could not be taken yet, and come again
}

// open is one request that runs.
type open struct {
	watched
	since time.Time
	told  bool // that it runs
}

// tellAfter is how long an execution runs before it is reported as running.
const tellAfter = time.Second

// maxLate bounds what ends while requests are entered.
const maxLate = 10_000

func (r *requests) init() { r.by, r.undone = map[string][]*open{}, map[string]bool{} }

// dealt notes whether a request was taken or must come again.
func (r *requests) dealt(request string, done bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if delete(r.undone, request); !done {
		r.undone[request] = true
	}
}

// comes reports whether a request could not be taken yet.
func (r *requests) comes(request string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.undone[request]
}

func (r *requests) watch(w watched) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.by[w.execution] = append(r.by[w.execution], &open{watched: w, since: time.Now()})
}

// execution finds which execution a request became, "" if it does not run.
func (r *requests) execution(request string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, list := range r.by {
		for _, o := range list {
			if o.request == request {
				return id
			}
		}
	}
	return ""
}

// lanes is how many processes' requests are taken on at once.
const lanes = 8

// takeMessages deals with messages and reports whether it could with all. Those
// to execute one process are taken in their order.
func (a *Agent) takeMessages(ctx context.Context, messages []wire.Message) bool {
	byProcess := map[string][]wire.Message{}
	var order []string
	var others []wire.Message
	for _, m := range messages {
		if m.Kind != wire.KindExecute || m.Execute == nil {
			others = append(others, m)
			continue
		}
		if byProcess[m.Execute.Process] == nil {
			order = append(order, m.Execute.Process)
		}
		byProcess[m.Execute.Process] = append(byProcess[m.Execute.Process], m)
	}
	var undone sync.Map
	var all sync.WaitGroup
	free := make(chan struct{}, lanes)
	for _, process := range order {
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			done := true
			for _, m := range byProcess[process] {
				done = done && a.execute(ctx, m) // after one that was not, the rest of this process keeps its order
				if a.requests.dealt(m.Execute.Request, done); done {
					a.acks.add(m.ID, m.Execute.Request)
				}
			}
			if !done {
				undone.Store(process, true)
			}
		})
	}
	all.Wait()
	done := true
	undone.Range(func(any, any) bool { done = false; return false })
	// Restarts come last, and several are one: what is asked for with them has had its effect.
	slices.SortStableFunc(others, func(x, y wire.Message) int {
		switch {
		case x.Kind == wire.KindRestart && y.Kind == wire.KindRestart:
			return cmp.Compare(y.ID, x.ID)
		case x.Kind == wire.KindRestart:
			return 1
		case y.Kind == wire.KindRestart:
			return -1
		}
		return 0
	})
	for _, m := range others {
		if a.order(ctx, m) {
			request := ""
			if m.Resubmit != nil {
				request = m.Resubmit.Request
			}
			a.acks.add(m.ID, request)
		} else {
			done = false
		}
	}
	return done
}

// execute takes a request on, once, and reports whether the message has had its
// effect: an execution that is stored, or a rejection.
func (a *Agent) execute(ctx context.Context, m wire.Message) bool {
	x := m.Execute
	taken, err := a.spool.wasTaken(ctx, x.Request) // the atom's store forgets where its executions came from after some days
	if err != nil || taken {
		return err == nil
	}
	props, doc, err := arrival(x)
	if err != nil {
		return a.reject(ctx, x, err)
	}
	a.requests.mu.Lock()
	a.requests.entering++
	a.requests.mu.Unlock()
	defer a.entered()
	ack, err := a.atom.ExecuteOnce(ctx, x.Request, x.Process, props, doc)
	invalid := (*fault.Failure)(nil)
	switch {
	case err == nil:
	case errors.Is(err, atom.ErrNoSuch) && a.converging():
		return false // it may be there in a moment
	case errors.Is(err, atom.ErrNoSuch):
		return a.reject(ctx, x, errors.New("no process "+x.Process+" is deployed to this atom"))
	case atom.IsUnavailable(err) || ctx.Err() != nil || !errors.As(err, &invalid):
		a.log.Warn("an execution request must wait", "request", x.Request, "process", x.Process, "error", err)
		return false
	default:
		return a.reject(ctx, x, err)
	}
	if ack.Execution == "" {
		return a.reject(ctx, x, errors.New("the filter of the process "+x.Process+" keeps this document out"))
	}
	w := watched{x.Request, ack.Execution, x.Process}
	if ack.Status != "accepted" && a.requests.execution(x.Request) != "" {
		return true // it came again and runs
	}
	if err := a.spool.watch(ctx, w); err != nil {
		a.log.Error("an execution request could not be kept", "request", x.Request, "error", err)
		return false
	}
	a.requests.watch(w)
	if ack.Status != "accepted" { // it came again, perhaps after a restart: it may have ended
		a.look(ctx, w)
	}
	return true
}

// entered settles what ended while requests were entered, once the last is.
func (a *Agent) entered() {
	r := &a.requests
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.entering--; r.entering > 0 {
		return
	}
	for _, e := range r.late {
		a.settle(e)
	}
	r.late = nil
}

// reject keeps that a request is not run, and why.
func (a *Agent) reject(ctx context.Context, x *wire.Execute, why error) bool {
	return a.rejected(ctx, wire.ExecutionReport{Request: x.Request, Process: x.Process, Kind: atom.ByRequest}, why)
}

// rejected is reject with what is to be told of the request.
func (a *Agent) rejected(ctx context.Context, r wire.ExecutionReport, why error) bool {
	a.log.Warn("an execution request was rejected", "request", r.Request, "process", r.Process, "reason", why)
	now := a.o.Clock().UTC()
	r.Status, r.Received, r.Ended, r.Error = "rejected", now, now, clip(why.Error())
	if err := a.spool.reject(ctx, r.Request, reportOf(aRequest, r)); err != nil {
		a.log.Error("a rejection could not be kept", "request", r.Request, "error", err)
		return false
	}
	a.outbox.nudge()
	return true
}

// arrival reads the properties and the document of a request.
func arrival(x *wire.Execute) (*document.Object, *document.Document, error) {
	var props *document.Object
	if len(x.Props) > 0 && string(x.Props) != "null" {
		if err := convert.CheckJSON(x.Props); err != nil {
			return nil, nil, errors.New("the properties are not valid JSON: " + err.Error())
		}
		o, ok := document.Decode(document.Parse(string(x.Props))).(*document.Object)
		if !ok {
			return nil, nil, errors.New("the properties are not an object")
		}
		props = o
	}
	if len(x.Document) == 0 {
		return props, document.Empty, nil
	}
	kind, _, err := mime.ParseMediaType(x.DocumentType)
	if x.DocumentType == "" {
		kind, err = "application/json", nil
		if convert.CheckJSON(x.Document) != nil {
			kind = "application/octet-stream"
		}
	}
	if err != nil {
		return nil, nil, errors.New("the document's type is no media type")
	}
	var data []byte
	switch {
	case kind == "application/json" || strings.HasSuffix(kind, "+json"):
		if err := convert.CheckJSON(x.Document); err != nil {
			return nil, nil, errors.New("the document is not valid JSON: " + err.Error())
		}
		return props, document.FromJSON(x.Document), nil
	case kind == "application/xml" || kind == "text/xml" || strings.HasSuffix(kind, "+xml"):
		data, err = convert.XMLToJSON(x.Document, nil)
	case kind == "text/csv":
		data, err = convert.CSVToJSON(x.Document, true, ',')
	case kind == "application/x-www-form-urlencoded":
		data, err = convert.FormToJSON(x.Document)
	case strings.HasPrefix(kind, "text/"):
		return props, document.FromText(string(x.Document)), nil
	}
	if err != nil {
		return nil, nil, errors.New("the document cannot be read: " + err.Error())
	}
	return props, document.New(x.Document, x.DocumentType, string(data)), nil
}

// order deals with a message that is no execution.
func (a *Agent) order(ctx context.Context, m wire.Message) bool {
	switch m.Kind {
	case wire.KindCancel:
		return a.cancel(ctx, m.Cancel)
	case wire.KindRestart:
		if m.Process != "" {
			return a.restartTrigger(m.Process)
		}
		return a.askRestart(ctx, m.ID)
	case wire.KindLogs:
		return a.tellLog(ctx, m)
	case wire.KindRetire:
		return a.retire(ctx, m.ID)
	case wire.KindResubmit:
		return a.resubmit(ctx, m.Resubmit)
	}
	a.log.Warn("a message of the control plane is not known to this version", "kind", m.Kind)
	return true // it would come again for ever
}

// restartTrigger begins one trigger anew.
func (a *Agent) restartTrigger(process string) bool {
	if err := a.atom.Restart(process); err != nil {
		a.log.Warn("a trigger that is to be restarted is not there", "process", process)
	}
	return true
}

// cancel cancels an execution, named by its request or by its own id. What has
// ended, or is not known, has nothing to be cancelled.
func (a *Agent) cancel(ctx context.Context, name string) bool {
	if a.requests.comes(name) {
		return false // it would begin afterwards
	}
	id := a.requests.execution(name)
	if id == "" {
		id = name
	}
	err := a.atom.Cancel(ctx, id)
	if err == nil || errors.Is(err, atom.ErrEnded) || errors.Is(err, atom.ErrUnknown) {
		return true
	}
	a.log.Warn("an execution could not be cancelled", "execution", id, "error", err)
	return false
}

// ended is told by the atom of every execution that ends.
func (a *Agent) ended(e atom.Ended) {
	a.observe(e)
	r := &a.requests
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.entering > 0 && len(r.late) < maxLate {
		r.late = append(r.late, e)
		return
	}
	a.settle(e)
}

// maxError bounds an error in a report.
const maxError = 8 << 10

func clip(text string) string {
	if len(text) > maxError {
		return strings.ToValidUTF8(text[:maxError], "") + " …"
	}
	return text
}

// settle hands the report of an execution to the outbox. The caller holds
// requests.mu, so that reports of one execution keep their order.
func (a *Agent) settle(e atom.Ended) {
	r := wire.ExecutionReport{
		Execution: e.Execution, Process: e.Process, Kind: e.Kind, Original: e.Original, Status: string(e.Status), In: (*wire.Traffic)(e.In), Out: (*wire.Traffic)(e.Out),
		Received: e.Received, Started: e.Started, Ended: e.Ended, Error: clip(e.Error),
	}
	list := a.requests.by[e.Execution]
	if len(list) == 0 {
		a.outbox.offer(r)
		return
	}
	delete(a.requests.by, e.Execution)
	for _, o := range list {
		if r.Request = o.request; r.Original == "" {
			r.Kind = atom.ByRequest
		}
		a.outbox.put(r, o.request)
	}
}

// look reports a request whose execution has ended, if it has.
func (a *Agent) look(ctx context.Context, w watched) {
	v, err := a.atom.Show(ctx, w.execution)
	e := atom.Ended{Execution: w.execution, Process: w.process, Kind: atom.ByRequest}
	switch {
	case errors.Is(err, atom.ErrUnknown):
		e.Status, e.Error, e.Received = atom.Failed, "it has ended, and the atom does not keep its record any more", a.o.Clock().UTC()
		e.Started, e.Ended = e.Received, e.Received
	case err != nil || v.EndedAt == nil:
		return
	default:
		e.Status, e.Received, e.Ended, e.Original = atom.Status(v.Status), v.ReceivedAt, *v.EndedAt, v.Original
		if v.StartedAt != nil {
			e.Started = *v.StartedAt
		}
		if v.Original != "" {
			e.Kind = atom.ByResubmission
		}
		if v.Error != nil {
			e.Error = v.Error.Message
		}
		if e.Out = v.Sent; v.Input != nil { // where nothing was sent, or it is not known, nothing is told
			e.In = &atom.Traffic{Documents: 1, Bytes: int64(v.Input.Size)}
		}
	}
	a.requests.mu.Lock()
	defer a.requests.mu.Unlock()
	if len(a.requests.by[w.execution]) > 0 {
		a.settle(e)
	}
}

// reconcile reports what ended while the agent was not there to see it, and
// tells of executions that take long, until ctx ends.
func (a *Agent) reconcile(ctx context.Context) {
	if err := a.spool.forget(ctx); err != nil && ctx.Err() == nil {
		a.log.Warn("old rejections could not be removed", "error", err)
	}
	for _, w := range a.requests.all(0) {
		a.look(ctx, w)
	}
	for sleep(ctx, tellAfter/2) {
		for _, w := range a.requests.all(tellAfter) {
			v, err := a.atom.Show(ctx, w.execution)
			if err != nil {
				continue
			}
			if v.EndedAt != nil {
				a.look(ctx, w)
				continue
			}
			a.tell(w, v)
		}
	}
}

// all gives the requests that have run for some time and were not told of yet.
func (r *requests) all(age time.Duration) []watched {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []watched
	for _, list := range r.by {
		for _, o := range list {
			if age == 0 || !o.told && time.Since(o.since) >= age {
				found = append(found, o.watched)
			}
		}
	}
	return found
}

// tell reports that a request runs.
func (a *Agent) tell(w watched, v *atom.View) {
	r := wire.ExecutionReport{Execution: w.execution, Request: w.request, Process: w.process, Kind: atom.ByRequest, Status: v.Status, Received: v.ReceivedAt, Original: v.Original}
	if v.Original != "" {
		r.Kind = atom.ByResubmission
	}
	a.requests.mu.Lock()
	defer a.requests.mu.Unlock()
	for _, o := range a.requests.by[w.execution] {
		if o.request == w.request && !o.told {
			o.told = true
			a.outbox.put(r, "")
		}
	}
}
