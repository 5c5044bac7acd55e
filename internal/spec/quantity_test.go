package spec

import (
	"testing"
	"time"
)

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "500ms": 500 * time.Millisecond, "10s": 10 * time.Second, "1h30m": 90 * time.Minute, "30d": 720 * time.Hour, "1.5h": 90 * time.Minute, "1d12h": 36 * time.Hour,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "5", "s", "-5s", "+5s", "5 s", "5sec", "1w", "99999999999999d", "1..5s", ".s", "1e3s", "5s5", "NaNs", "Infs"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
	for want, d := range map[string]time.Duration{"0s": 0, "1ms": time.Millisecond, "90s": 90 * time.Second, "24h": 24 * time.Hour, "30d": 720 * time.Hour, "1500ms": 1500 * time.Millisecond} {
		if got := FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%v): got %s, want %s", d, got, want)
		}
	}
}

func TestSizesAndRates(t *testing.T) {
	for text, want := range map[string]int64{"0B": 0, "512B": 512, "64KiB": 64 << 10, "10MiB": 10 << 20, "1GB": 1e9, "5kB": 5000} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "B", "5", "-1B", "+1B", "1.5MiB", "9999999999999TiB", "5 MiB", "5mib"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
	for text, want := range map[string]float64{"50/s": 50, "90/m": 1.5, "3600/h": 1} {
		if got, err := ParseRate(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "5", "0/s", "-1/s", "5/d", "5/s/s", "/s", "1.5/s"} {
		if got, err := ParseRate(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
	if a, b, c := FormatSize(10<<20), FormatSize(1500), FormatRate(1.5); a != "10MiB" || b != "1500B" || c != "90/m" {
		t.Errorf("got %s, %s, %s; want 10MiB, 1500B, 90/m", a, b, c)
	}
}

func TestNumbers(t *testing.T) {
	for _, s := range []string{"0", "-0", "5", "12345678901234567890", "0.10", "-1.5e+10", "1E5"} {
		if !IsNumber(s) {
			t.Errorf("IsNumber(%s): got false, want true", s)
		}
	}
	for _, s := range []string{"", "-", "01", "02134", "+1", ".5", "5.", "1_000", "0x1F", "1e", "NaN", ".inf", "1 ", "0o7"} {
		if IsNumber(s) {
			t.Errorf("IsNumber(%s): got true, want false", s)
		}
	}
}

func TestSuggest(t *testing.T) {
	known := []string{"for_each", "switch", "call", "if", "timeout", "log"}
	for s, want := range map[string]string{
		"foreach": "for_each", "forEach": "for_each", "for-each": "for_each", "swich": "switch", "clal": "call", "timout": "timeout", "timeuot": "timeout",
		"lgo": "log", "Log": "log", "xyz": "", "x": "", "": "", "something_else": "",
	} {
		if got := Suggest(s, known); got != want {
			t.Errorf("%s: got %q, want %q", s, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	for s, want := range map[string]string{"OrderTotal": "order_total", "order-total": "order_total", "Order total": "order_total", "9a": "a", "été": "", "a__b": "a_b", "_": ""} {
		if got := nameLike(s, '_'); got != want {
			t.Errorf("%s: got %q, want %q", s, got, want)
		}
	}
}

func TestExpressions(t *testing.T) {
	for s, want := range map[string]bool{"${a}": true, "x ${a}": true, "$${a}": false, "$${a} ${b}": true, "$a": false, "{a}": false, "": false} {
		if HoldsExpression(s) != want {
			t.Errorf("%s: got %v, want %v", s, !want, want)
		}
	}
}
