package terminal

import (
	"context"
	"fmt"
	"time"

	"valence/internal/clierror"
	"valence/internal/spec"
)

// Duration formats d in one unit, rounded for reading: 12ms, 3.4s, 5m, 3d.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Millisecond:
		return fmt.Sprintf("%dµs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// Ago returns how long ago t was, such as 5m ago; empty for the zero time.
func Ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return Duration(time.Since(t)) + " ago"
}

// Timestamp returns t in local time with milliseconds; empty for nil and zero.
func Timestamp(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05.000 -07:00")
}

// ParseSince parses the value of --since: a time, or a duration before now.
func ParseSince(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if d, err := spec.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	return time.Time{}, clierror.Usage("--since 24h, or --since 2026-01-02T15:04:05Z", "%q is neither a duration nor a time", text)
}

// Sleep waits for d, or returns the error of ctx if it ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
