package simulate

import (
	"testing"
	"time"
)

// small is a fleet that its control planes serve easily.
func small() *Fleet {
	c := Measured
	c.Atoms, c.Groups, c.Members, c.Planes = 1800, 40, 5, 2
	return New(c)
}

// An idle fleet polls once per hold, evenly.
func TestSteady(t *testing.T) {
	f := small()
	f.Run(5 * time.Minute)
	total := Total(f.Seconds[60:300])
	if want := 2000 * 240 / 30; total.Polls < want*98/100 || total.Polls > want*101/100 {
		t.Errorf("got %d polls in 4 minutes, want about %d", total.Polls, want)
	}
	if total.Refused > 0 {
		t.Errorf("got %d refusals, want none", total.Refused)
	}
	if want := time.Duration(total.Polls) * Measured.Poll; total.Busy != want {
		t.Errorf("got %v of processor time, want %v", total.Busy, want)
	}
}

// After a restart every atom returns, with three requests: one with the old epoch,
// one without a hold, and one that is held.
func TestRestart(t *testing.T) {
	f := small()
	f.Run(2 * time.Minute)
	f.Kill(2)
	f.NewRound()
	f.Run(2 * time.Second)
	if _, any := f.Back(0.001); any {
		t.Error("an atom was answered by a control plane that is down")
	}
	f.Start()
	f.Run(29 * time.Second)
	back, ok := f.Back(1)
	if !ok {
		t.Fatal("not all atoms are back after 29 s")
	}
	if total := Total(f.Seconds[122:151]); total.Polls < 4000 || total.Requests < 6000 {
		t.Errorf("got %d polls and %d requests until all were back after %v, want at least 4000 and 6000", total.Polls, total.Requests, back)
	}
}

// The atoms of a control plane that dies go to the others.
func TestOneOfTwo(t *testing.T) {
	f := small()
	f.Run(2 * time.Minute)
	f.Kill(1)
	f.Run(time.Minute)
	for _, a := range f.atoms {
		if a.plane == f.planes[0] {
			t.Fatal("an atom polls a control plane that is down")
		}
	}
	if total := Total(f.Seconds[170:180]); total.Polls == 0 {
		t.Error("nobody polls")
	}
}

// A control plane that is too slow refuses, and serves everybody in the end.
func TestOverload(t *testing.T) {
	c := Measured
	c.Atoms, c.Planes, c.Cores, c.Poll = 30_000, 1, 1, 500*time.Microsecond
	f := New(c)
	f.Run(time.Minute)
	f.Kill(1)
	f.NewRound()
	f.Start()
	f.Run(5 * time.Minute)
	if _, ok := f.Back(1); !ok {
		t.Errorf("got %d of %d atoms back", len(f.back), c.Atoms)
	}
	if total := Total(f.Seconds); total.Queue > 30_000 {
		t.Errorf("got a queue of %d", total.Queue)
	}
}
