package exact

import (
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNumberForms(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0", "-0": "0", "0.0": "0", "1.0": "1", "-1.50": "-1.5", "100": "100", "0.001": "0.001", "-0.05": "-0.05", "10.010": "10.01",
		"1e3": "1000", "1.5e3": "1500", "1e-3": "0.001", "1E+2": "100", "123456789012345678": "123456789012345678", "9223372036854775807": "9223372036854775807",
		"9223372036854775808": "9223372036854775808", "-9223372036854775808": "-9223372036854775808", "99999999999999999999.990": "99999999999999999999.99",
		"1e40": "1" + strings.Repeat("0", 40), "1e41": "1e41", "12e40": "12" + strings.Repeat("0", 40), "1.25e50": "1.25e50", "1e-40": "0." + strings.Repeat("0", 39) + "1", "1e-42": "1e-42", "-12e-60": "-1.2e-59",
		"0.000000000000000001": "0.000000000000000001", "0.1234567890123456789": "0.1234567890123456789",
		strings.Repeat("9", 60): strings.Repeat("9", 60),
	} {
		n, err := Parse(in)
		if got := string(n.Text()); err != nil || got != want {
			t.Errorf("%s: got %s %v, want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"1e20001", "1e-20001", "1e99999999999", strings.Repeat("9", maxDigits+1)} {
		if _, err := Parse(in); err == nil {
			t.Errorf("%.20s: got nil, want an error", in)
		}
	}
}

func anyNumber() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		s := rapid.SampledFrom([]string{"", "-"}).Draw(t, "sign")
		s += rapid.StringMatching(`0|[1-9][0-9]{0,3}|[1-9][0-9]{15,22}|[1-9][0-9]{30,45}|9223372036854775807|9223372036854775808`).Draw(t, "whole")
		s += rapid.StringMatching(`|\.[0-9]{1,3}|\.[0-9]{15,22}|\.0{10}[0-9]{5,30}`).Draw(t, "fraction")
		return s + rapid.StringMatching(`|||e-?[0-9]{1,2}`).Draw(t, "exponent")
	})
}

func rat(t *rapid.T, s string) *big.Rat {
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		t.Fatalf("got %q, want a number", s)
	}
	return r
}

// TestArithmeticIsExact compares with rational numbers: integers are exact,
// other results are rounded to 34 digits, and all have the shortest form.
func TestArithmeticIsExact(t *testing.T) {
	operations := map[string]struct {
		ours func(a, b Number) (Number, error)
		math func(a, b *big.Rat) *big.Rat
	}{
		"+": {Add, func(a, b *big.Rat) *big.Rat { return new(big.Rat).Add(a, b) }},
		"-": {Sub, func(a, b *big.Rat) *big.Rat { return new(big.Rat).Sub(a, b) }},
		"*": {Mul, func(a, b *big.Rat) *big.Rat { return new(big.Rat).Mul(a, b) }},
		"/": {Div, func(a, b *big.Rat) *big.Rat { return new(big.Rat).Quo(a, b) }},
		"%": {Mod, func(a, b *big.Rat) *big.Rat {
			q := new(big.Rat).Quo(a, b)
			whole := new(big.Int).Quo(q.Num(), q.Denom())
			return new(big.Rat).Sub(a, new(big.Rat).Mul(new(big.Rat).SetInt(whole), b))
		}},
	}
	rapid.Check(t, func(t *rapid.T) {
		op := rapid.SampledFrom([]string{"+", "-", "*", "/", "%"}).Draw(t, "op")
		x, y := anyNumber().Draw(t, "x"), anyNumber().Draw(t, "y")
		a, err := Parse(x)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Parse(y)
		if err != nil {
			t.Fatal(err)
		}
		p, q := rat(t, x), rat(t, y)
		if got := Compare(a, b); got != p.Cmp(q) {
			t.Fatalf("compare(%s, %s): got %d, want %d", x, y, got, p.Cmp(q))
		}
		if q.Sign() == 0 && (op == "/" || op == "%") {
			return
		}
		n, err := operations[op].ours(a, b)
		if err != nil {
			t.Fatal(err)
		}
		checkRounded(t, string(n.Text()), operations[op].math(p, q))
	})
}

func checkRounded(t *rapid.T, got string, want *big.Rat) {
	g := rat(t, got)
	mantissa, _, _ := strings.Cut(got, "e")
	if strings.Contains(mantissa, ".") && strings.HasSuffix(mantissa, "0") {
		t.Fatalf("got %s, want the shortest form", got)
	}
	diff := new(big.Rat).Sub(g, want)
	if diff.Sign() == 0 {
		return
	}
	if want.IsInt() {
		t.Fatalf("got %s, want %s", got, want.RatString())
	}
	// Half a unit of the 34th digit.
	half := new(big.Rat).Quo(new(big.Rat).Abs(want), new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(33), nil)))
	if diff.Abs(diff).Cmp(half.Quo(half, big.NewRat(2, 1))) > 0 {
		t.Fatalf("got %s, want %s", got, want.FloatString(60))
	}
}

// TestRoundIsExact compares rounding with rational numbers.
func TestRoundIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyNumber().Draw(t, "x")
		digits := rapid.Int64Range(-25, 25).Draw(t, "digits")
		n, err := Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		x := rat(t, s)
		unit := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(max(digits, -digits)), nil))
		if digits > 0 {
			unit.Inv(unit)
		}
		if n.wide().NumDigits() > precision {
			t.Skip("more digits than a decimal keeps")
		}
		for name, how := range map[string]Mode{"floor": Down, "ceil": Up, "round": HalfAway} {
			r, err := Round(n, digits, how)
			if err != nil {
				t.Fatal(err)
			}
			got := rat(t, string(r.Text()))
			over := new(big.Rat).Sub(got, x)
			over.Quo(over, unit) // how far it moved, in units of the last digit
			half := new(big.Rat).Abs(over).Cmp(big.NewRat(1, 2))
			ok := map[string]bool{
				"floor": over.Sign() <= 0 && over.Cmp(big.NewRat(-1, 1)) > 0,
				"ceil":  over.Sign() >= 0 && over.Cmp(big.NewRat(1, 1)) < 0,
				"round": half < 0 || half == 0 && over.Sign() == x.Sign(),
			}[name]
			if !ok || !new(big.Rat).Quo(got, unit).IsInt() {
				t.Fatalf("%s(%s, %d): got %s, want a multiple of %s", name, s, digits, r.Text(), unit)
			}
		}
	})
}
