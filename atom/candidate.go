package atom

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"valence/atom/run"
	"valence/atom/store"
	"valence/atom/trigger"
	"valence/connectors"
)

// immediateTime bounds how long the executions of one commit may run before
// their messages are stored. Those that do not end in time run after it.
const immediateTime = time.Second

// perWorker is how many messages of a commit occupy one goroutine at least.
const perWorker = 16

// candidate is a message of a subscription that the process has checked.
type candidate struct {
	in           *Message
	unidentified bool // err is a fault of the connector
	err          error
	dropped      string
	accepted     *store.Message
	immediate    *run.Immediate // nil: it is run after it is stored
}

// candidates checks the messages of one commit and runs those that can end
// before they are stored, on all processors.
func (d triggered) candidates(ctx context.Context, ds []*trigger.Delivery) []candidate {
	list := make([]candidate, len(ds))
	immediate, cautious := d.atom.store.Outcomes()
	immediate = immediate && d.atom.engine.CanRunImmediately(d.deployed())
	limited, stop := context.WithTimeout(ctx, immediateTime)
	defer stop()
	var next atomic.Int64
	work := func() {
		for {
			from := int(next.Add(perWorker)) - perWorker
			for i := from; i < min(from+perWorker, len(ds)); i++ {
				if ds[i].Result == "" {
					list[i].check(ctx, d, ds[i].Message)
				}
				if immediate && !(cautious && ds[i].Early) {
					list[i].run(limited, d)
				}
			}
			if from+perWorker >= len(ds) {
				return
			}
		}
	}
	var more sync.WaitGroup
	for range min((len(ds)-1)/perWorker, runtime.GOMAXPROCS(0)-1, d.atom.engine.Workers(d.Process.Name)-1) {
		more.Go(work)
	}
	work()
	more.Wait()
	return list
}

// check checks a message. A panic is a bug of the runtime, and fails this message
// only.
func (c *candidate) check(ctx context.Context, d triggered, m *connectors.Message) {
	defer func() {
		if p := recover(); p != nil {
			c.err = fmt.Errorf("the runtime panicked: %v\n%s", p, debug.Stack())
		}
	}()
	if c.err = checkIdentity(m); c.err != nil {
		c.unidentified = true
		return
	}
	c.in = d.message(m)
	c.accepted, c.dropped, c.err = d.admit(ctx, m, c.in)
	if c.err == nil && c.accepted != nil && len(c.accepted.Meta) > store.MaxMeta {
		c.in.Props, c.err = nil, errPropsTooLarge
	}
}

// run runs the execution of a message that is to be stored, if it can end now.
// After a panic it runs later, as usual.
func (c *candidate) run(ctx context.Context, d triggered) {
	if c.err != nil || c.accepted == nil || ctx.Err() != nil {
		return
	}
	defer func() {
		if recover() != nil {
			c.immediate = nil
		}
	}()
	c.immediate = d.atom.engine.RunImmediately(ctx, d.deployed(), c.in, c.accepted)
}
