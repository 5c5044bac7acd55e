package atom

import (
	"context"
	"encoding/json"

	"valence/atom/run"
	"valence/atom/store"
)

// StatusRunning is the status of a live execution that runs now, for operators.
const StatusRunning = "running"

// views show executions to operators and senders.
type views struct {
	store  store.Store
	ids    *run.IDs
	engine *run.Engine
}

// Show returns one execution with its steps and documents. It fails with
// store.ErrUnknown if there is none with this id.
func (s *views) Show(ctx context.Context, id string) (*ExecutionView, error) {
	x, err := s.get(ctx, id)
	if err != nil {
		return nil, err
	}
	v := s.view(x)
	s.addLane(ctx, x, v)
	v.Input = run.NewDocumentView(run.RecordDocument(&x.Record))
	v.Steps = s.engine.StepViews(ctx, x)
	if m, err := run.ParseMeta(x.Meta); err == nil {
		v.Durable, v.Request, v.Props = len(x.Journal) > 0 && !m.Memory, m.Request, m.Props
	}
	v.DocumentsDropped = x.Outcome != nil && x.Outcome.DropDocuments
	if x.Outcome != nil {
		var t run.StoredTrace
		if json.Unmarshal(x.Outcome.Trace, &t) == nil {
			v.Reply, v.ReplyStatus, v.Warnings, v.StepsDropped, v.Sent = t.Reply, t.ReplyStatus, t.Warnings, t.Dropped, t.Sent
		}
	}
	return v, nil
}

// get returns the execution with a public id.
func (s *views) get(ctx context.Context, id string) (*store.Execution, error) {
	seq, received, ok := s.ids.ParseID(id)
	if !ok {
		return nil, store.ErrUnknown
	}
	return s.store.Get(ctx, seq, received)
}

// List returns executions, newest first, without steps and documents.
func (s *views) List(ctx context.Context, f store.Filter, cursor string, limit int) ([]*ExecutionView, string, error) {
	found, next, err := s.list(ctx, f, cursor, limit)
	if err != nil {
		return nil, "", err
	}
	list := make([]*ExecutionView, len(found))
	for i, x := range found {
		list[i] = s.view(x)
		s.addLane(ctx, x, list[i])
	}
	return list, next, nil
}

// list is store.History's List. A text that is an execution's id selects that one.
func (s *views) list(ctx context.Context, f store.Filter, cursor string, limit int) ([]*store.Execution, string, error) {
	if seq, _, ok := s.ids.ParseID(f.Text); ok {
		one := f
		one.Seq, one.Text = seq, ""
		found, _, err := s.store.List(ctx, one, "", 1)
		if len(found) > 0 || err != nil {
			return found, "", err
		}
	}
	if f.Text != "" {
		f.MetaText = run.CorrelationText(f.Text)
	}
	return s.store.List(ctx, f, cursor, limit)
}

// view returns an execution without steps, documents and lane.
func (s *views) view(x *store.Execution) *ExecutionView {
	v := &ExecutionView{
		Execution: s.ids.ExecutionID(x.Seq, x.Received), Process: x.Process, Status: s.statusOf(x), ReceivedAt: x.Received,
		Attempts: x.Attempt, Track: x.Track, Plan: x.Plan,
	}
	if m, err := run.ParseMeta(x.Meta); err == nil {
		v.CorrelationID, v.Parent, v.Original = m.Correlation, m.Parent, m.Original
	}
	if x.Outcome == nil {
		if !x.Due.IsZero() && v.Status != StatusRunning {
			due := x.Due
			v.Due = &due
		}
		if v.Status != StatusRunning {
			v.Reason = x.Reason
		}
		return v
	}
	started, ended := x.Outcome.Started, x.Outcome.Ended
	v.StartedAt, v.EndedAt, v.Fingerprint = &started, &ended, x.Outcome.Fingerprint
	v.Resolution = resolution(x.Outcome)
	if len(x.Outcome.Error) > 0 {
		e := &ErrorView{}
		if json.Unmarshal(x.Outcome.Error, e) == nil {
			v.Error = e
		}
	}
	return v
}

func (s *views) statusOf(x *store.Execution) string {
	if x.Outcome != nil {
		return string(x.Outcome.Status)
	}
	if x.Elsewhere || s.engine.IsRunning(x.Seq) {
		return StatusRunning
	}
	return string(x.State)
}
