package trigger

import (
	"context"
	"errors"
	"time"
)

// How often a member asks for a claim that another one has, and how often it
// checks its own.
const (
	claimEvery = 2 * time.Second
	checkEvery = 250 * time.Millisecond
)

// errStandby is returned after another member of the group has taken over.
var errStandby = errors.New("another member of the group listens")

// releaseTimeout bounds giving up a claim.
const releaseTimeout = 2 * time.Second

// listenAlone listens, and in a group only while no other member listens, if
// two of them would receive the same messages. It returns errStandby when the
// lease of this member has ended.
func (s *Subscriptions) listenAlone(ctx context.Context, x *subscription) error {
	if !x.process.Exclusive() {
		return s.listen(ctx, x)
	}
	name := "subscription " + x.process.Definition().Name
	epoch, err := s.claim(ctx, x, name)
	if err != nil {
		return err
	}
	listening, end := context.WithCancel(ctx)
	defer end()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		defer end()
		check := time.NewTicker(checkEvery)
		defer check.Stop()
		for epoch != 0 && s.leases.Holds(epoch) { // epoch 0: there is no group
			select {
			case <-check.C:
			case <-listening.Done():
				return
			}
		}
		if epoch == 0 {
			<-listening.Done()
		}
	}()
	err = s.listen(listening, x)
	lost := listening.Err() != nil && ctx.Err() == nil
	end()
	<-watched
	if lost {
		x.log.Warn("the lease has ended; another member of the group listens")
		return errStandby
	}
	ending, stop := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer stop()
	if e := s.leases.ReleaseName(ending, name); e != nil {
		x.log.Warn("cannot let another member of the group listen at once", "error", e)
	}
	return err
}

// claim waits until this member may listen.
func (s *Subscriptions) claim(ctx context.Context, x *subscription, name string) (epoch int64, err error) {
	for {
		epoch, claimed, err := s.leases.ClaimName(ctx, name)
		if err != nil || claimed {
			return epoch, err
		}
		if before, _ := x.enter(Standby, nil); before != Standby {
			x.log.Info("another member of the group listens; standing by")
		}
		select {
		case <-time.After(claimEvery):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}
