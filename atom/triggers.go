package atom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"valence/atom/activity"
	"valence/atom/run"
	"valence/atom/store"
	"valence/atom/trigger"
	"valence/connectors"
	"valence/internal/blob"
	"valence/internal/mask"
	"valence/processes"
)

// triggers run the schedules and subscriptions of deployed processes.
type triggers struct {
	atom          *Atom
	scheduler     *trigger.Scheduler
	subscriptions *trigger.Subscriptions
	contents      settings
	kick          chan struct{} // another member may have changed the pauses
	activity      *activity.Feed
	pauses        pauses // of triggers
	halted        pauses // of processing
	onSwitch      func()
	masks         *mask.Set
}

func newTriggers(a *Atom, o Options) *triggers {
	t := &triggers{atom: a, kick: make(chan struct{}, 1), contents: o.Store, masks: o.Masks, pauses: pauses{content: pauseContent}, halted: pauses{content: haltContent}}
	t.scheduler = trigger.NewScheduler(t, o.Store, o.Store, o.Log)
	t.subscriptions = trigger.NewSubscriptions(t.subscribed, o.Store, o.Log)
	return t
}

// wake makes schedules and subscriptions follow a deployment or a pause.
func (t *triggers) wake() {
	t.scheduler.Wake()
	t.subscriptions.Wake()
}

// Scheduled returns the deployed processes with a schedule.
func (t *triggers) Scheduled() (list []trigger.Scheduled) {
	for _, d := range t.atom.Processes() {
		if d.Process.Schedule != nil {
			list = append(list, triggered{d, t.atom})
		}
	}
	return list
}

// Live reports whether an execution has not ended.
func (t *triggers) Live(ctx context.Context, execution string) (bool, error) {
	x, err := t.atom.get(ctx, execution)
	if errors.Is(err, store.ErrUnknown) {
		return false, nil
	}
	return err == nil && x.Outcome == nil, err
}

// subscribed returns the deployed processes whose subscriptions should run.
func (t *triggers) subscribed() (list []trigger.Subscribed) {
	for _, d := range t.atom.Processes() {
		if d.Process.Subscribe != nil && !d.Paused() {
			list = append(list, triggered{d, t.atom})
		}
	}
	return list
}

// ScheduleStatus is the progress of a schedule, for operators.
type ScheduleStatus = trigger.ScheduleStatus

// ScheduleStatus returns the progress of the schedule of a process.
func (t *triggers) ScheduleStatus(d *DeployedProcess) ScheduleStatus {
	return t.scheduler.Status(triggered{d, t.atom})
}

// SubscriptionStatus is the state of a subscription, for operators.
type SubscriptionStatus = trigger.SubscriptionStatus

// SubscriptionStatus returns the state of the subscription of a process. It
// returns false if the process has none or if it is paused.
func (t *triggers) SubscriptionStatus(d *DeployedProcess) (SubscriptionStatus, bool) {
	s, ok := t.subscriptions.Status(d.Process.Name)
	s.Error, s.Warning = t.masks.String(s.Error), t.masks.String(s.Warning)
	return s, ok
}

// Pause pauses the trigger of a process until Resume, also after a restart: its
// listener answers 503. Accepted messages are run.
func (t *triggers) Pause(ctx context.Context, name string) error { return t.set(ctx, name, true) }

// Resume resumes a paused trigger.
func (t *triggers) Resume(ctx context.Context, name string) error { return t.set(ctx, name, false) }

func (t *triggers) set(ctx context.Context, name string, paused bool) error {
	if _, ok := t.atom.Process(name); !ok {
		return ErrNoSuch
	}
	ctx, stop := run.Detach(ctx)
	defer stop()
	if err := t.pauses.set(ctx, t.contents, name, paused); err != nil {
		return err
	}
	t.switched()
	event := ActivityResumed
	if paused {
		event = ActivityPaused
	}
	t.activity.Publish(ActivityEvent{Event: event, Process: name})
	return nil
}

// switched makes triggers follow a pause.
func (t *triggers) switched() {
	t.wake()
	if t.onSwitch != nil {
		t.onSwitch()
	}
}

// changed is called by the store when another member may have changed the
// pauses.
func (t *triggers) changed() {
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

// follow follows the pauses that people set at other members, until ctx ends.
func (t *triggers) follow(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.kick:
		}
		paused, err := t.pauses.load(ctx, t.contents)
		halted, e := t.halted.load(ctx, t.contents)
		if paused {
			t.switched()
		}
		if halted {
			t.atom.engine.Queues.Wake()
		}
		if err := errors.Join(err, e); err != nil && ctx.Err() == nil {
			t.atom.engine.Log.Warn("cannot read the pauses of other members; trying again", "error", err)
		}
	}
}

// OnSwitch sets the function that is called when a trigger was paused or
// resumed. It must not block, and must be set before Run.
func (t *triggers) OnSwitch(f func()) { t.onSwitch = f }

// Restart ends the subscription of a process and starts it again. Other
// triggers hold nothing to restart.
func (t *triggers) Restart(name string) error {
	if _, ok := t.atom.Process(name); !ok {
		return ErrNoSuch
	}
	t.subscriptions.Restart(name)
	return nil
}

// PauseProcessing stops starting durable executions of a process until
// ResumeProcessing, also after a restart. Its trigger still accepts messages,
// which wait on disk, and running executions end. Requests whose callers wait
// are not affected.
func (t *triggers) PauseProcessing(ctx context.Context, name string) error {
	return t.setProcessing(ctx, name, true)
}

// ResumeProcessing starts durable executions of a process again.
func (t *triggers) ResumeProcessing(ctx context.Context, name string) error {
	return t.setProcessing(ctx, name, false)
}

func (t *triggers) setProcessing(ctx context.Context, name string, paused bool) error {
	if _, ok := t.atom.Process(name); !ok {
		return ErrNoSuch
	}
	ctx, stop := run.Detach(ctx)
	defer stop()
	if err := t.halted.set(ctx, t.contents, name, paused); err != nil {
		return err
	}
	t.atom.engine.Queues.Queue(name).Wake()
	return nil
}

// load reads the pauses.
func (t *triggers) load(ctx context.Context) error {
	_, paused := t.pauses.load(ctx, t.contents)
	_, halted := t.halted.load(ctx, t.contents)
	return errors.Join(paused, halted)
}

// settings stores settings for all members of a group.
type settings interface {
	store.Contents
	store.Leases
	store.Members
	Err() error
}

// pauses are the processes whose triggers, or whose processing, are paused.
type pauses struct {
	content string // in the store's contents

	changing sync.Mutex // held while a change is stored

	mu     sync.RWMutex
	paused map[string]bool // by process
}

// Names of the pauses in the store's contents.
const (
	pauseContent = "paused-triggers"
	haltContent  = "paused-processing"
)

func (p *pauses) has(process string) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.paused[process]
}

// load reads the pauses, and reports whether they have changed.
func (p *pauses) load(ctx context.Context, contents store.Contents) (changed bool, err error) {
	p.changing.Lock()
	defer p.changing.Unlock()
	return p.read(ctx, contents)
}

// read is load. The caller holds p.changing.
func (p *pauses) read(ctx context.Context, contents store.Contents) (changed bool, err error) {
	text, err := contents.Content(ctx, p.content)
	if errors.Is(err, store.ErrUnknown) {
		return false, nil
	}
	next := map[string]bool{}
	if err == nil {
		err = json.Unmarshal(text, &next)
	}
	if err != nil {
		return false, fmt.Errorf("read %s: %w", p.content, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	changed = !maps.Equal(p.paused, next)
	p.paused = next
	return changed, nil
}

// set stores a pause, or its end. Members of a group change their pauses one after
// the other.
func (p *pauses) set(ctx context.Context, s settings, process string, paused bool) error {
	p.changing.Lock()
	defer p.changing.Unlock()
	epoch, err := p.claim(ctx, s)
	if err != nil {
		return err
	}
	defer func() { // otherwise the others wait until the lease ends
		if err := s.ReleaseName(ctx, p.content); err == nil {
			s.AnnounceSettings()
		}
	}()
	if _, err := p.read(ctx, s); err != nil {
		return err
	}
	p.mu.RLock()
	next := maps.Clone(p.paused)
	p.mu.RUnlock()
	if next == nil {
		next = map[string]bool{}
	}
	if delete(next, process); paused {
		next[process] = true
	}
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if !s.Holds(epoch) {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, store.ErrFenced)
	}
	if err := s.PutContent(ctx, p.content, text); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused = next
	return nil
}

// claimAgain is how often a member asks for the right to change pauses while
// another one changes them.
const claimAgain = 50 * time.Millisecond

// claim waits for the right to change the pauses.
func (p *pauses) claim(ctx context.Context, s settings) (epoch int64, err error) {
	for {
		epoch, claimed, err := s.ClaimName(ctx, p.content)
		switch {
		case err != nil:
			return 0, err
		case claimed:
			return epoch, nil
		case s.Err() != nil:
			return 0, s.Err()
		}
		select {
		case <-time.After(claimAgain):
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
		}
	}
}

// triggered is a deployed process as package trigger sees it.
type triggered struct {
	*DeployedProcess
	atom *Atom
}

var (
	_ trigger.ScheduleHost = (*triggers)(nil)
	_ trigger.Scheduled    = triggered{}
	_ trigger.Subscribed   = triggered{}
)

// Definition returns the process.
func (d triggered) Definition() *processes.Process { return d.Process }

// Accept stores a message of the schedule, unless it is paused.
func (d triggered) Accept(ctx context.Context, m *trigger.Message) (string, error) {
	if err := d.atom.open(d.DeployedProcess); err != nil {
		return "", err
	}
	in := &Message{Doc: m.Doc, Received: run.Now(), Props: m.Props, CorrelationID: m.CorrelationID, SHA256: run.HashBody(m.Doc), By: BySchedule}
	origin := ""
	if m.Origin != nil {
		origin = run.DeriveText(m.Origin...)
	}
	ack, err := d.atom.acceptOnce(ctx, d.DeployedProcess, in, origin)
	if err != nil {
		return "", err
	}
	return ack.Execution, nil
}

// Exclusive reports whether one member of the group listens at a time.
func (d triggered) Exclusive() bool {
	s := d.Process.Subscribe.Connector.Subscription
	return s.Exclusive != nil && s.Exclusive(d.subscription)
}

// Listen delivers the messages of the process' subscription until ctx ends.
func (d triggered) Listen(ctx context.Context, host *connectors.Host) error {
	name := d.Process.Subscribe.Connection
	conn := d.release.connections[name]
	source, ok := conn.Client.(connectors.Listener)
	if !ok {
		return fmt.Errorf("the connector of the connection %s cannot listen", name)
	}
	conn.Acquire()
	defer conn.Release()
	return source.Listen(blob.Into(ctx, d.atom.engine.Blobs), d.subscription, host)
}
