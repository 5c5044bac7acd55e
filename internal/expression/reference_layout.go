package expression

import (
	"bytes"
	"fmt"
)

// layoutFields documents the fields of Unicode date patterns.
var layoutFields = []struct{ field, doc string }{
	{"yyyy", "year"}, {"yy", "year with two digits; 69 to 99 are in the last century when parsed"},
	{"MM", "month; `M` without a leading zero"}, {"MMM", "short English name of the month"}, {"MMMM", "English name of the month"},
	{"dd", "day; `d` without a leading zero"}, {"EEE", "short English name of the weekday"}, {"EEEE", "English name of the weekday"},
	{"HH", "hour from 0 to 23; `H` without a leading zero"}, {"hh a", "hour from 1 to 12 with AM or PM; `h` without a leading zero"},
	{"mm", "minute"}, {"ss", "second"}, {"SSS", "decimal places of the second, up to nine"},
	{"XXX", "offset from UTC, `Z` for UTC; `XX` without a colon, `X` hours only"},
	{"xxx", "offset from UTC, `+00:00` for UTC; `xx` or `Z` without a colon, `x` hours only"},
	{"z", "abbreviation of the time zone; when parsed those of the given zone and of mail (RFC 5322), because others stand for several offsets"},
	{"'T'", "text in single quotes; `''` is a single quote. Other letters are errors, `Y` and `D` too: they are not the year and the day"},
}

// layoutReference writes the section on the layouts of dates.
func layoutReference(b *bytes.Buffer) error {
	b.WriteString("## Layouts of dates\n\nA layout is a Unicode pattern ([UTS 35](https://unicode.org/reports/tr35/tr35-dates.html)) of these fields. " +
		"The layouts of Go, which write the reference date 2006-01-02 15:04:05, work too.\n\n" +
		"| field | meaning | 2026-01-31T09:30:05.250Z in Berlin |\n| --- | --- | --- |\n")
	for _, f := range layoutFields {
		result, err := evaluate(fmt.Sprintf(`formatDate("2026-01-31T09:30:05.250Z", "%s", "Europe/Berlin")`, patternSample(f.field)))
		if err != nil {
			return fmt.Errorf("layout %s: %w", f.field, err)
		}
		fmt.Fprintf(b, "| `%s` | %s | `%s` |\n", f.field, f.doc, result)
	}
	b.WriteByte('\n')
	return nil
}

// patternSample returns a pattern that is valid alone.
func patternSample(field string) string {
	if field == "'T'" {
		return "dd'T'"
	}
	return field
}
