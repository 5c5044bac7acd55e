package spec

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

var units = []struct {
	name string
	unit time.Duration
}{
	{"ms", time.Millisecond}, {"us", time.Microsecond}, {"ns", time.Nanosecond},
	{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second},
}

// ParseDuration parses a duration such as 10s, 1h30m, 24h, 30d or 500ms. It
// accepts no sign and no duration over 146 years.
func ParseDuration(s string) (time.Duration, error) {
	var total time.Duration
	rest := s
	for first := true; rest != "" || first; first = false {
		i := 0
		for i < len(rest) && (rest[i] >= '0' && rest[i] <= '9' || rest[i] == '.') {
			i++
		}
		unit := time.Duration(0)
		for _, u := range units {
			if strings.HasPrefix(rest[i:], u.name) {
				unit = u.unit
				amount, err := strconv.ParseFloat(rest[:i], 64)
				part := amount * float64(unit)
				if err != nil || float64(total)+part > math.MaxInt64/2 {
					return 0, errQuantity
				}
				if n, err := strconv.ParseInt(rest[:i], 10, 64); err == nil {
					total += time.Duration(n) * unit
				} else {
					total += time.Duration(math.Round(part))
				}
				rest = rest[i+len(u.name):]
				break
			}
		}
		if unit == 0 || i == 0 {
			return 0, errQuantity
		}
	}
	return total, nil
}

var errQuantity = errors.New("invalid quantity")

// FormatDuration formats a duration for ParseDuration.
func FormatDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}} {
		if d%u.unit == 0 && (u.name != "d" || d >= 48*time.Hour) {
			return strconv.FormatInt(int64(d/u.unit), 10) + u.name
		}
	}
	return d.String()
}

var sizes = []struct {
	name string
	unit int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
}

// ParseSize parses a size such as 512B, 64KiB, 10MiB or 1GB.
func ParseSize(s string) (int64, error) {
	for _, u := range sizes {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/u.unit || digits[0] == '+' {
			return 0, errQuantity
		}
		return n * u.unit, nil
	}
	return 0, errQuantity
}

// FormatSize formats a size for ParseSize.
func FormatSize(n int64) string {
	for _, u := range sizes {
		if n != 0 && n%u.unit == 0 && (u.unit&(u.unit-1) == 0) {
			return strconv.FormatInt(n/u.unit, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// ParseRate parses a rate such as 50/s, 100/m or 1000/h and returns it per second.
func ParseRate(s string) (float64, error) {
	digits, unit, ok := strings.Cut(s, "/")
	per := map[string]float64{"s": 1, "m": 60, "h": 3600}[unit]
	n, err := strconv.ParseUint(digits, 10, 32)
	if !ok || per == 0 || err != nil || n == 0 {
		return 0, errQuantity
	}
	return float64(n) / per, nil
}

// FormatRate formats a rate for ParseRate.
func FormatRate(r float64) string {
	for _, u := range []struct {
		name string
		per  float64
	}{{"/s", 1}, {"/m", 60}, {"/h", 3600}} {
		if n := math.Round(r * u.per); n >= 1 && math.Abs(n-r*u.per) < 1e-6*n {
			return strconv.FormatFloat(n, 'f', -1, 64) + u.name
		}
	}
	return strconv.FormatFloat(r, 'g', -1, 64) + "/s"
}
