package cloud

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// CronFields is a cron expression in the form of the platform API: ranges and
// lists of numbers, where Sunday is 1, and * for all.
type CronFields struct {
	Minutes, Hours, DaysOfWeek, DaysOfMonth, Months, Years string
}

var cronWords = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

// ParseCronFields converts a valid cron expression.
func ParseCronFields(expression string) (CronFields, error) {
	text := strings.TrimSpace(expression)
	if five, ok := cronWords[strings.ToLower(text)]; ok {
		text = five
	}
	parts := strings.Fields(text)
	if len(parts) != 5 {
		return CronFields{}, fmt.Errorf("the cron expression %q does not have five fields", expression)
	}
	f := CronFields{Years: "*"}
	for i, x := range []struct {
		into        *string
		low, high   int
		names       string
		plus, modul int // offset and modulus in the platform API, if different
	}{
		{&f.Minutes, 0, 59, "", 0, 0}, {&f.Hours, 0, 23, "", 0, 0}, {&f.DaysOfMonth, 1, 31, "", 0, 0},
		{&f.Months, 1, 12, "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC", 0, 0},
		{&f.DaysOfWeek, 0, 7, "SUN MON TUE WED THU FRI SAT", 1, 7},
	} {
		all, err := cronSet(parts[i], x.low, x.high, strings.Fields(x.names))
		if err != nil {
			return CronFields{}, fmt.Errorf("the cron expression %q: %w", expression, err)
		}
		low, high := x.low, x.high
		if x.modul > 0 {
			for j := range all {
				all[j] = all[j]%x.modul + x.plus
			}
			low, high = x.plus, x.modul
			slices.Sort(all)
			all = slices.Compact(all)
		}
		*x.into = cronText(all, low, high)
	}
	return f, nil
}

// cronSet returns the sorted numbers that a field matches.
func cronSet(field string, low, high int, names []string) ([]int, error) {
	number := func(s string) (int, error) {
		if i := slices.Index(names, strings.ToUpper(s)); i >= 0 {
			return i + low, nil
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < low || n > high {
			return 0, fmt.Errorf("%q is out of range or not a number", s)
		}
		return n, nil
	}
	var all []int
	for item := range strings.SplitSeq(field, ",") {
		span, by, stepped := strings.Cut(item, "/")
		step := 1
		if stepped {
			n, err := strconv.Atoi(by)
			if err != nil || n < 1 {
				return nil, fmt.Errorf("%q is not a valid step", by)
			}
			step = n
		}
		from, to := low, high
		if span != "*" && span != "?" {
			first, last, ranged := strings.Cut(span, "-")
			var err error
			if from, err = number(first); err != nil {
				return nil, err
			}
			switch {
			case ranged:
				if to, err = number(last); err != nil {
					return nil, err
				}
			case !stepped:
				to = from
			}
		} else if high == 7 && low == 0 {
			to = 6 // a week has one Sunday
		}
		for n := from; n <= to; n += step {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// cronText formats numbers as *, as a range with a step, or as a list of
// numbers and ranges.
func cronText(all []int, low, high int) string {
	if len(all) == high-low+1 {
		return "*"
	}
	if len(all) > 2 {
		step, even := all[1]-all[0], true
		for i := 2; i < len(all); i++ {
			even = even && all[i]-all[i-1] == step
		}
		if last := all[len(all)-1]; even && step > 1 {
			if all[0] == low && last+step > high {
				last = high
			}
			return fmt.Sprintf("%d-%d/%d", all[0], last, step)
		}
	}
	var items []string
	for i := 0; i < len(all); {
		j := i
		for j+1 < len(all) && all[j+1] == all[j]+1 {
			j++
		}
		switch j - i {
		case 0:
			items = append(items, strconv.Itoa(all[i]))
		case 1:
			items = append(items, strconv.Itoa(all[i]), strconv.Itoa(all[j]))
		default:
			items = append(items, fmt.Sprintf("%d-%d", all[i], all[j]))
		}
		i = j + 1
	}
	return strings.Join(items, ",")
}
