package cloud

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// The number of waiting instructions of an account is always the sum over its
// atoms that are not revoked.
func TestWaitingInstructionsAreCounted(t *testing.T) {
	l := newMailboxes()
	rng := rand.New(rand.NewPCG(1, 2))
	atoms := make([]*Atom, 20)
	for i := range atoms {
		atoms[i] = &Atom{ID: fmt.Sprint("atom-", i), Account: fmt.Sprint("account-", i%3)}
	}
	assigned := map[string]bool{}
	for step := range 5000 {
		a := atoms[rng.IntN(len(atoms))]
		id := int64(rng.IntN(40))
		switch rng.IntN(7) {
		case 0, 1, 2:
			l.of(a.ID).add(id)
		case 3:
			l.of(a.ID).remove([]int64{id, id + 1})
		case 4:
			l.removeAll([]int64{id})
		case 5:
			a.Revoked = rng.IntN(3) == 0
			assigned[a.ID] = true
			l.assign(a)
		case 6:
			l.setUndelivered(map[string][]int64{a.ID: {1, 2, 3}, atoms[0].ID: {7}})
		}
		want := map[string]int{}
		for _, a := range atoms {
			if assigned[a.ID] && !a.Revoked {
				want[a.Account] += l.of(a.ID).length()
			}
		}
		for i := range 3 {
			account := fmt.Sprint("account-", i)
			if got := int(l.total(account).Load()); got != want[account] {
				t.Fatalf("step %d, %s: got %d, want %d", step, account, got, want[account])
			}
		}
	}
}
