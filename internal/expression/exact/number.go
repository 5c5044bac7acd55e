// Package exact computes with decimal numbers of any size. Results are exact if
// they are integers, and otherwise rounded to 34 digits, half to even (IEEE 754
// decimal128). Numbers are bounded, so that no operation needs much time or
// memory; exceeding a bound is a LimitError.
package exact

import (
	"math/bits"
	"strconv"
	"strings"

	"github.com/cockroachdb/apd/v3"

	"valence/internal/document"
)

const (
	precision   = 34
	maxExponent = 20_000 // of a literal
	maxDigits   = 20_000 // of an operand
)

// RangeError reports an operation without a representable result.
type RangeError string

// LimitError reports a number with too many digits.
type LimitError string

func (e RangeError) Error() string { return string(e) }
func (e LimitError) Error() string { return string(e) }

// Number is coefficient × 10^exp, or *big if that does not fit. The zero value
// is 0.
type Number struct {
	coef int64
	exp  int32 // 0 to -18
	big  *apd.Decimal
}

// Int returns n as a Number.
func Int(n int64) Number { return Number{coef: n} }

var pow10 = [...]int64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
}

// Parse parses a JSON number.
func Parse(s string) (Number, error) {
	i, negative := 0, false
	if s != "" && s[0] == '-' {
		i, negative = 1, true
	}
	var n Number
	dot := -1
	if len(s)-i > 19 {
		return parseBig(s)
	}
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			n.coef = n.coef*10 + int64(c-'0')
		case c == '.' && dot < 0:
			dot = i
		default:
			return parseBig(s)
		}
	}
	if dot >= 0 {
		n.exp = int32(dot + 1 - len(s))
	} else if len(s) > 18 {
		return parseBig(s) // may exceed an int64
	}
	if negative {
		n.coef = -n.coef
	}
	return n, nil
}

func parseBig(s string) (Number, error) {
	if e := strings.IndexAny(s, "eE"); e >= 0 {
		exp, err := strconv.Atoi(s[e+1:])
		if err != nil || exp > maxExponent || exp < -maxExponent {
			return Number{}, RangeError("exponent out of range: it must be within ±20,000")
		}
	}
	if len(s) > maxDigits {
		return Number{}, LimitError("a number has more than 20,000 digits")
	}
	d, _, err := apd.NewFromString(s)
	if err != nil || d.Form != apd.Finite {
		return Number{}, RangeError("not a number")
	}
	return shrink(d), nil
}

// shrink returns d as a Number, in the fast form if possible. The caller
// must not use d afterwards.
func shrink(d *apd.Decimal) Number {
	if d.Coeff.IsInt64() && d.Exponent <= 0 && d.Exponent >= -18 {
		c := d.Coeff.Int64()
		if d.Negative {
			c = -c
		}
		return Number{coef: c, exp: d.Exponent}
	}
	return Number{big: d}
}

// decimal returns n as an apd.Decimal that the caller may modify.
func (n Number) decimal() *apd.Decimal {
	if n.big != nil {
		return new(apd.Decimal).Set(n.big)
	}
	return apd.New(n.coef, n.exp)
}

// wide returns n as an apd.Decimal that the caller must not modify.
func (n Number) wide() *apd.Decimal {
	if n.big != nil {
		return n.big
	}
	return apd.New(n.coef, n.exp)
}

// Sign returns -1, 0 or 1.
func (n Number) Sign() int {
	if n.big != nil {
		return n.big.Sign()
	}
	switch {
	case n.coef > 0:
		return 1
	case n.coef < 0:
		return -1
	}
	return 0
}

// Digits returns roughly how many digits an operation on n involves.
func (n Number) Digits() int64 {
	if n.big == nil {
		return 19
	}
	return n.big.NumDigits() + max(int64(n.big.Exponent), 0)
}

// Int64 returns n if it is an integer that fits an int64.
func (n Number) Int64() (int64, bool) {
	if n.big != nil {
		i, err := n.big.Int64()
		return i, err == nil
	}
	p := pow10[-n.exp]
	return n.coef / p, n.coef%p == 0
}

// Text returns n in its shortest form: without trailing zeros, and with an
// exponent only to avoid more than 40 zeros.
func (n Number) Text() document.Number {
	if n.big == nil {
		return document.Number(n.Append(make([]byte, 0, 24)))
	}
	d, _ := new(apd.Decimal).Reduce(n.big)
	if d.IsZero() {
		return "0"
	}
	digits := d.Coeff.String()
	sign := ""
	if d.Negative {
		sign = "-"
	}
	exp := int(d.Exponent)
	switch point := len(digits) + exp; {
	case exp > 40 || point < -40:
		out := sign + digits[:1]
		if len(digits) > 1 {
			out += "." + digits[1:]
		}
		return document.Number(out + "e" + strconv.Itoa(point-1))
	case exp >= 0:
		return document.Number(sign + digits + strings.Repeat("0", exp))
	case point > 0:
		return document.Number(sign + digits[:point] + "." + digits[point:])
	default:
		return document.Number(sign + "0." + strings.Repeat("0", -point) + digits)
	}
}

// Small reports whether arithmetic on n has negligible cost.
func (n Number) Small() bool { return n.big == nil }

// Append appends a Small number in its shortest form.
func (n Number) Append(dst []byte) []byte {
	c, e := n.coef, int(-n.exp)
	for e > 0 && c%10 == 0 {
		c, e = c/10, e-1
	}
	if e == 0 {
		return strconv.AppendInt(dst, c, 10)
	}
	u := uint64(c)
	if c < 0 {
		dst, u = append(dst, '-'), uint64(-c)
	}
	p := uint64(pow10[e])
	dst = append(strconv.AppendUint(dst, u/p, 10), '.')
	start := len(dst)
	dst = strconv.AppendUint(dst, u%p, 10)
	if missing := e - (len(dst) - start); missing > 0 {
		dst = append(dst, "000000000000000000"[:missing]...)
		copy(dst[start+missing:], dst[start:])
		copy(dst[start:], "000000000000000000"[:missing])
	}
	return dst
}

// align returns both coefficients for a common exponent if they fit an int64.
func align(a, b Number) (x, y int64, exp int32, ok bool) {
	if a.big != nil || b.big != nil {
		return 0, 0, 0, false
	}
	switch {
	case a.exp == b.exp:
		return a.coef, b.coef, a.exp, true
	case a.exp > b.exp:
		x, ok = scale(a.coef, a.exp-b.exp)
		return x, b.coef, b.exp, ok
	}
	y, ok = scale(b.coef, b.exp-a.exp)
	return a.coef, y, a.exp, ok
}

func scale(c int64, by int32) (int64, bool) {
	if by >= int32(len(pow10)) {
		return 0, c == 0
	}
	return mul64(c, pow10[by])
}

func mul64(a, b int64) (int64, bool) {
	hi, lo := bits.Mul64(abs64(a), abs64(b))
	if hi != 0 || lo > 1<<63-1 {
		return 0, false
	}
	if a < 0 != (b < 0) {
		return -int64(lo), true
	}
	return int64(lo), true
}

func abs64(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

// Compare returns -1, 0 or 1.
func Compare(a, b Number) int {
	if x, y, _, ok := align(a, b); ok {
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	}
	return a.wide().Cmp(b.wide())
}

// exactly returns an apd context that never rounds.
func exactly() *apd.Context { c := apd.BaseContext; return &c }

// rounding returns an apd context that rounds to the precision, half to even.
func rounding() *apd.Context {
	c := apd.BaseContext.WithPrecision(precision)
	c.Rounding = apd.RoundHalfEven
	return c
}

// settle rounds a result that is not an integer and checks its bounds.
func settle(d *apd.Decimal, err error) (Number, error) {
	if err != nil || d.Form != apd.Finite {
		return Number{}, RangeError("the result is out of range")
	}
	if d.Exponent < 0 {
		d.Reduce(d)
	}
	if d.Exponent < 0 && d.NumDigits() > precision {
		if _, err := rounding().Round(d, d); err != nil {
			return Number{}, RangeError("the result is out of range")
		}
	}
	if int64(d.Exponent)+d.NumDigits() < -maxExponent {
		return Number{}, RangeError("the result is out of range")
	}
	if n := d.NumDigits() + max(int64(d.Exponent), 0); n > maxDigits {
		return Number{}, LimitError("the result has more than 20,000 digits")
	}
	return shrink(d), nil
}

// Add returns a + b.
func Add(a, b Number) (Number, error) {
	if x, y, e, ok := align(a, b); ok {
		if sum := x + y; (sum > x) == (y > 0) {
			return Number{coef: sum, exp: e}, nil
		}
	}
	d := new(apd.Decimal)
	_, err := exactly().Add(d, a.wide(), b.wide())
	return settle(d, err)
}

// Sub returns a - b.
func Sub(a, b Number) (Number, error) {
	n, err := Negate(b)
	if err != nil {
		return n, err
	}
	return Add(a, n)
}

// Negate returns -a.
func Negate(a Number) (Number, error) {
	if a.big == nil && a.coef != -1<<63 {
		a.coef = -a.coef
		return a, nil
	}
	d := a.decimal()
	d.Negative = !d.Negative
	return shrink(d), nil
}

// Mul returns a × b.
func Mul(a, b Number) (Number, error) {
	if a.big == nil && b.big == nil && a.exp+b.exp >= -18 {
		if c, ok := mul64(a.coef, b.coef); ok {
			return Number{coef: c, exp: a.exp + b.exp}, nil
		}
	}
	d := new(apd.Decimal)
	_, err := exactly().Mul(d, a.wide(), b.wide())
	return settle(d, err)
}

// Div returns a / b.
func Div(a, b Number) (Number, error) {
	if b.Sign() == 0 {
		return Number{}, RangeError("division by zero")
	}
	if x, y, _, ok := align(a, b); ok && x%y == 0 && x != -1<<63 {
		return Int(x / y), nil
	}
	if q, r := quoRem(a, b); r.Sign() == 0 {
		return settle(q.decimal(), nil)
	}
	d := new(apd.Decimal)
	_, err := rounding().Quo(d, a.wide(), b.wide())
	return settle(d, err)
}

// quoRem returns the quotient truncated towards zero and the remainder, which
// has the sign of a.
func quoRem(a, b Number) (quo, rem Number) {
	x, y := a.decimal(), b.decimal()
	exp := min(x.Exponent, y.Exponent)
	for _, d := range []*apd.Decimal{x, y} {
		var p apd.BigInt
		p.Exp(apd.NewBigInt(10), apd.NewBigInt(int64(d.Exponent)-int64(exp)), nil)
		d.Coeff.Mul(&d.Coeff, &p)
	}
	var q, r apd.Decimal
	q.Coeff.QuoRem(&x.Coeff, &y.Coeff, &r.Coeff)
	q.Negative = x.Negative != y.Negative
	r.Negative, r.Exponent = x.Negative, exp
	return shrink(&q), shrink(&r)
}

// Mod returns the remainder of a / b, with the sign of a.
func Mod(a, b Number) (Number, error) {
	if b.Sign() == 0 {
		return Number{}, RangeError("division by zero")
	}
	if x, y, e, ok := align(a, b); ok && y != -1 {
		return Number{coef: x % y, exp: e}, nil
	}
	_, r := quoRem(a, b)
	return settle(r.decimal(), nil)
}

// Power returns a to the power of b. It is exact if both are integers and b is
// not negative.
func Power(a, b Number) (Number, error) {
	n, whole := b.Int64()
	if a.Sign() == 0 && b.Sign() < 0 {
		return Number{}, RangeError("division by zero")
	}
	if !whole && a.Sign() < 0 {
		return Number{}, RangeError("a negative number has no real root")
	}
	if _, integral := a.Int64(); whole && integral && n >= 0 {
		out := Int(1)
		for base := a; ; {
			var err error
			if n&1 == 1 {
				if out, err = Mul(out, base); err != nil {
					return out, err
				}
			}
			if n >>= 1; n == 0 {
				return out, nil
			}
			if base, err = Mul(base, base); err != nil {
				return out, err
			}
		}
	}
	if c := compareAbs(b, Int(10_000)); c > 0 {
		return Number{}, RangeError("exponent out of range: it must be within ±10,000")
	}
	d := new(apd.Decimal)
	_, err := rounding().Pow(d, a.wide(), b.wide())
	return settle(d, err)
}

func compareAbs(a, b Number) int {
	x, y := a.decimal(), b.decimal()
	x.Negative, y.Negative = false, false
	return x.Cmp(y)
}

// Mode is a rounding mode.
type Mode int

// The rounding modes.
const (
	TowardsZero Mode = iota
	Down
	Up
	HalfAway // to the nearest, halves away from zero
)

// up reports whether a magnitude must grow by one after rest was cut off.
func (how Mode) up(negative bool, rest, unit *apd.BigInt) bool {
	switch how {
	case Down:
		return negative && rest.Sign() != 0
	case Up:
		return !negative && rest.Sign() != 0
	case HalfAway:
		return new(apd.BigInt).Lsh(rest, 1).Cmp(unit) >= 0
	}
	return false
}

// Round rounds to digits places after the decimal point; negative digits round
// before the point.
func Round(a Number, digits int64, how Mode) (Number, error) {
	if digits > maxExponent || digits < -maxExponent {
		return Number{}, RangeError("cannot round to more than 20,000 digits")
	}
	if a.big == nil && int64(-a.exp) <= digits {
		return a, nil
	}
	d := a.decimal()
	drop := -int64(d.Exponent) - digits
	if drop <= 0 {
		return a, nil
	}
	var unit, rest apd.BigInt
	unit.Exp(apd.NewBigInt(10), apd.NewBigInt(drop), nil)
	d.Coeff.QuoRem(&d.Coeff, &unit, &rest)
	if how.up(d.Negative, &rest, &unit) {
		d.Coeff.Add(&d.Coeff, apd.NewBigInt(1))
	}
	d.Exponent = int32(-digits)
	if d.Coeff.Sign() == 0 {
		d.Exponent = 0
	}
	return settle(d, nil)
}
