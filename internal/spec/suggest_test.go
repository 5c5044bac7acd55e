package spec

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestLikely checks that the intended name is among the few likely candidates,
// and that those are sorted.
func TestLikely(t *testing.T) {
	var known []string
	for i := range 5000 {
		known = append(known, fmt.Sprintf("customer-order-%d", i))
	}
	known = append(known, "invoice_paid", "Adresse", "größe")
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(known), func(i, j int) { known[i], known[j] = known[j], known[i] })
	for slip, meant := range map[string]string{
		"custmer-order-4711": "customer-order-4711", "customer_order_17": "customer-order-17", "invoicePaid": "invoice_paid",
		"invocie_paid": "invoice_paid", "adress": "Adresse", "grösse": "größe", "customer-order-x": "customer-order-0",
	} {
		likely := Likely(slip, known, 64)
		if len(likely) > 64 || !slices.IsSorted(likely) {
			t.Errorf("%s: got %d candidates, sorted %t; want at most 64, sorted", slip, len(likely), slices.IsSorted(likely))
		}
		if got := Suggest(slip, likely); got != meant && !(meant == "customer-order-0" && strings.HasPrefix(got, "customer-order-")) {
			t.Errorf("%s: got %q, want %q", slip, got, meant)
		}
	}
	if got := Likely("nothing-like-it", known, 64); Suggest("nothing-like-it", got) != "" {
		t.Errorf(`got %v, want ""`, got)
	}
}

// TestDistance checks that distances are exact up to the limit.
func TestDistanceLimit(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	word := func() string {
		b := make([]byte, r.IntN(9))
		for i := range b {
			b[i] = "abc"[r.IntN(3)]
		}
		return string(b)
	}
	for range 20_000 {
		a, b, limit := word(), word(), r.IntN(6)
		exact, got := distance(a, b, 100), distance(a, b, limit)
		if exact != got && (exact <= limit || got <= limit) {
			t.Fatalf("distance(%q, %q, %[4]d): got %[5]d, want %[3]d", a, b, exact, limit, got)
		}
		if least := lettersOf(a).apart(lettersOf(b)); least > exact {
			t.Fatalf("%q, %q: lower bound %[4]d exceeds the distance %[3]d", a, b, exact, least)
		}
	}
}
