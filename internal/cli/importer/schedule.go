package importer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

var errInterval = errors.New("the interval has no cron expression: a schedule runs at most once a minute")

// schedule returns the cron expression of an interval or of a cron expression
// with 5 to 7 fields, and its time zone.
func schedule(s string) (cron, zone string, err error) {
	s = strings.TrimSpace(s)
	for _, prefix := range []string{"TZ=", "CRON_TZ="} {
		if rest, ok := strings.CutPrefix(s, prefix); ok {
			zone, s, _ = strings.Cut(rest, " ")
		}
	}
	s = strings.TrimSpace(strings.ReplaceAll(s, "+", " "))
	switch s {
	case "@hourly", "@daily", "@weekly", "@monthly", "@yearly":
		return s, zone, nil
	case "@midnight":
		return "@daily", zone, nil
	}
	if d, err := time.ParseDuration(strings.TrimSpace(strings.TrimPrefix(s, "@every"))); err == nil {
		cron, err = every(d)
		return cron, zone, err
	}
	fields := strings.Fields(s)
	for i, f := range fields {
		if f == "?" {
			fields[i] = "*"
		}
	}
	switch {
	case len(fields) == 7 && fields[6] == "*", len(fields) == 6:
		if _, err := strconv.Atoi(fields[0]); err != nil {
			return "", "", errInterval
		}
		if len(fields) == 7 || strings.Contains(s, "?") { // Quartz counts from Sunday = 1
			fields[5] = quartzDays(fields[5])
		}
		fields = fields[1:6]
	case len(fields) != 5:
		return "", "", errors.New("the cron expression is not translated")
	}
	return strings.Join(fields, " "), zone, nil
}

// quartzDays changes the numbers of weekdays from 1 = Sunday to 0 = Sunday.
func quartzDays(field string) string {
	if strings.ContainsAny(field, "#L/") {
		return field
	}
	return strings.Map(func(r rune) rune {
		if r >= '1' && r <= '7' {
			return r - 1
		}
		return r
	}, field)
}

// every returns the cron expression of an interval.
func every(d time.Duration) (string, error) {
	minutes := int(d / time.Minute)
	switch {
	case d <= 0 || d%time.Minute != 0:
		return "", errInterval
	case minutes == 1:
		return "* * * * *", nil
	case minutes < 60 && 60%minutes == 0:
		return fmt.Sprintf("*/%d * * * *", minutes), nil
	case minutes == 60:
		return "0 * * * *", nil
	case minutes%60 == 0 && minutes < 24*60 && 24%(minutes/60) == 0:
		return fmt.Sprintf("0 */%d * * *", minutes/60), nil
	case minutes == 24*60:
		return "0 0 * * *", nil
	}
	return "", errors.New("the interval has no cron expression")
}
