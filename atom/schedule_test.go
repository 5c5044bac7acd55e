package atom_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"valence/atom"
	"valence/atom/store"
	"valence/atom/store/storetest"
)

// scheduled is a process that calls with its due time. In a synctest bubble the
// clock starts at 2000-01-01 00:00 UTC.
func scheduled(settings string) string {
	return "\nprocess: nightly\nschedule: { " + settings + " }\nsteps:\n  - call: sys.get\n    with: { path: \"/${props.scheduled_at}\" }\n    retry: { max_attempts: 1, backoff: 1s }\n    timeout: 20h\n"
}

func (r *rig) runs() string {
	var at []string
	for _, c := range r.sys.seen() {
		at = append(at, strings.TrimPrefix(c.path, "/"))
	}
	return strings.Join(at, " ")
}

func (r *rig) ran(want string) {
	r.t.Helper()
	synctest.Wait()
	if got := r.runs(); got != want {
		r.t.Errorf("at %s\n got %s\nwant %s", time.Now().Format(time.RFC3339), got, want)
	}
}

func TestScheduleRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newSystem(), nil, scheduled(`cron: "0 3 * * *", timezone: Europe/Berlin`))
		synctest.Wait()
		if s := r.atom.ScheduleStatus(r.process("nightly")); !s.NextDue.Equal(time.Date(2000, 1, 1, 2, 0, 0, 0, time.UTC)) || s.LastRun != "" {
			t.Errorf("got status %+v, want the next run at 02:00 and no last run", s)
		}
		<-time.After(26*time.Hour + time.Minute)
		r.ran("2000-01-01T03%3A00%3A00%2B01%3A00 2000-01-02T03%3A00%3A00%2B01%3A00")
		if s := r.atom.ScheduleStatus(r.process("nightly")); s.LastRun == "" || s.LastDue.UTC().Hour() != 2 || s.NextDue.Day() != 3 {
			t.Errorf("got status %+v, want the last run at 02:00 and the next on day 3", s)
		}
		r.stop()
	})
}

// Restarts run nothing twice, and missed runs are handled by the misfire policy.
func TestScheduleMisfire(t *testing.T) {
	for policy, want := range map[string]string{
		"skip": "",
		"once": "07",
		"all":  "03 04 05 06 07",
	} {
		synctest.Test(t, func(t *testing.T) {
			sys, kept := newSystem(), storetest.NewStore()
			yaml := scheduled(`cron: "@hourly", misfire: ` + policy)
			start(t, sys, kept, yaml).run(2*time.Hour + time.Minute)
			<-time.After(5*time.Hour + 20*time.Minute) // 07:21
			r := start(t, sys, kept, yaml)
			hours := func(want string) {
				t.Helper()
				synctest.Wait()
				got := ""
				for _, c := range sys.seen() {
					got += c.path[12:14] + " "
				}
				if want = strings.Join(strings.Fields(want), " ") + " "; got != want {
					t.Errorf("%s: %s, want %s", policy, got, want)
				}
			}
			hours("01 02 " + want)
			r.run(time.Hour)
			hours("01 02 " + want + " 08")
			start(t, sys, kept, yaml).run(time.Minute)
			hours("01 02 " + want + " 08")
		})
	}
}

// run lets the atom run for a while and stops it.
func (r *rig) run(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
	r.stop()
}

func TestScheduleOverlap(t *testing.T) {
	for overlap, want := range map[string]string{
		"skip":  "[00:01 00:05 00:06]",
		"queue": "[00:01 00:04 00:04 00:04 00:05 00:06]",
		"allow": "[00:01 00:02 00:03 00:04 00:05 00:06]",
	} {
		synctest.Test(t, func(t *testing.T) {
			sys := newSystem()
			sys.entered, sys.block = make(chan string, 100), make(chan struct{})
			r := start(t, sys, nil, scheduled(`cron: "* * * * *", overlap: `+overlap))
			var at []string
			tell := func(d time.Duration) {
				for end := time.After(d); ; {
					select {
					case <-sys.entered:
						at = append(at, time.Now().UTC().Format("15:04"))
					case <-end:
						return
					}
				}
			}
			tell(4*time.Minute + 30*time.Second)
			if s := r.atom.ScheduleStatus(r.process("nightly")); s.Waiting != (overlap == "queue") {
				t.Errorf("overlap %s: got status %+v, want waiting only for queue", overlap, s)
			}
			sys.mu.Lock()
			close(sys.block)
			sys.block = nil
			sys.mu.Unlock()
			tell(2 * time.Minute)
			if got := fmt.Sprint(at); got != want {
				t.Errorf("%s: %s, want %s", overlap, got, want)
			}
			r.stop()
		})
	}
}

func TestSchedulePausedAndRedeployed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := storetest.NewStore()
		r := start(t, newSystem(), kept, scheduled(`cron: "30 * * * *"`))
		if err := r.atom.Pause(context.Background(), "nightly"); err != nil {
			t.Fatal(err)
		}
		<-time.After(3 * time.Hour)
		r.ran("")
		if err := r.atom.Resume(context.Background(), "nightly"); err != nil {
			t.Fatal(err)
		}
		r.ran("") // a pause is meant: nothing is made up for
		<-time.After(time.Hour)
		if got := len(r.sys.seen()); got != 1 {
			t.Errorf("%d runs after the pause, want 1", got)
		}
		r.stop()
		<-time.After(24 * time.Hour)
		r = start(t, newSystem(), kept, scheduled(`cron: "45 * * * *"`)) // another time: it has missed nothing
		r.ran("")
		r.stop()
	})
}

// A clock that is set ahead misses the runs it skips. One that is set back runs
// nothing a second time.
func TestScheduleClockIsSet(t *testing.T) {
	for policy, want := range map[string]string{
		"skip": "01 06 07",
		"once": "01 05 06 07",
		"all":  "01 02 03 04 05 06 07",
	} {
		synctest.Test(t, func(t *testing.T) {
			var ahead atomic.Int64
			sys := newSystem()
			r := startConnector(t, sys, sys.connector(), nil, scheduled(`cron: "@hourly", misfire: `+policy)+connection, func(a *atom.Atom) {
				a.SetClock(func() time.Duration { return time.Duration(ahead.Load()) })
			})
			ran := func(want string) {
				t.Helper()
				synctest.Wait()
				got := ""
				for _, c := range sys.seen() {
					got += " " + c.path[12:14]
				}
				if got = strings.TrimSpace(got); got != want {
					t.Errorf("%s: %s, want %s", policy, got, want)
				}
			}
			<-time.After(time.Hour + 30*time.Minute) // 01:30
			ran("01")
			ahead.Store(int64(4 * time.Hour)) // 05:30
			<-time.After(11 * time.Second)
			ran(strings.TrimSuffix(want, " 06 07"))
			<-time.After(time.Hour) // 06:30
			ran(strings.TrimSuffix(want, " 07"))
			ahead.Store(0) // 02:30
			<-time.After(4 * time.Hour)
			ran(strings.TrimSuffix(want, " 07"))
			<-time.After(time.Hour) // 07:30
			ran(want)
			r.stop()
		})
	}
}

// A crash between the acceptance of a run and the write of its progress loses the
// progress, but not the origin.
func TestScheduleLostProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys, kept := newSystem(), &forgetful{Store: storetest.NewStore()}
		yaml := scheduled(`cron: "0 * * * *", misfire: all`)
		start(t, sys, kept, yaml).run(30 * time.Minute)
		kept.forget = true
		start(t, sys, kept, yaml).run(time.Hour)
		kept.forget = false
		r := start(t, sys, kept, yaml)
		r.ran("2000-01-01T01%3A00%3A00Z")
		r.run(time.Hour)
		r.ran("2000-01-01T01%3A00%3A00Z 2000-01-01T02%3A00%3A00Z")
	})
}

// While another member runs the schedules, this one does not. Afterwards it does,
// without repeating runs.
func TestOneMemberRunsSchedules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys, kept := newSystem(), &occupied{Store: storetest.NewStore()}
		kept.taken.Store(true)
		r := start(t, sys, kept, scheduled(`cron: "@hourly"`))
		<-time.After(time.Hour + time.Second)
		r.ran("")
		kept.taken.Store(false)
		<-time.After(time.Hour)
		r.ran("2000-01-01T02%3A00%3A00Z")
		kept.taken.Store(true)
		<-time.After(time.Hour)
		r.ran("2000-01-01T02%3A00%3A00Z")
		if s := r.atom.ScheduleStatus(r.process("nightly")); s.LastDue.UTC().Hour() != 2 || s.NextDue.Hour() != 3 {
			t.Errorf("got status %+v, want that of the other member", s)
		}
		r.stop()
	})
}

// occupied is a store of a group in which another member may have all names.
type occupied struct {
	*storetest.Store
	taken atomic.Bool
}

func (o *occupied) ClaimName(ctx context.Context, name string) (int64, bool, error) {
	if o.taken.Load() {
		return 0, false, nil
	}
	return o.Store.ClaimName(ctx, name)
}

// forgetful is a store that loses checkpoints.
type forgetful struct {
	*storetest.Store
	forget bool
}

func (f *forgetful) PutContent(ctx context.Context, hash string, content []byte) error {
	if f.forget && strings.HasPrefix(hash, "schedule:") {
		return nil
	}
	return f.Store.PutContent(ctx, hash, content)
}

var _ store.Store = (*forgetful)(nil)

func TestScheduleMissedVeryOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys, kept := newSystem(), storetest.NewStore()
		yaml := scheduled(`cron: "* * * * *", misfire: all, overlap: allow`)
		start(t, sys, kept, yaml).run(30 * time.Second)
		<-time.After(40 * time.Hour)
		r := start(t, sys, kept, yaml)
		<-time.After(20 * time.Second)
		synctest.Wait()
		got := sys.paths()
		slices.Sort(got)
		if len(slices.Compact(got)) != 1000 || len(sys.seen()) != 1000 {
			t.Errorf("got %d calls, want 1000 different ones", len(sys.seen()))
		}
		r.stop()
	})
}
