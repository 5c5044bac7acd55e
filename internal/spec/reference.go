package spec

import "strings"

// Table writes declarations as a Markdown table; nested ones come below the
// mapping that holds them, with dots between the keys.
func Table(groups ...[]Field) string {
	var b strings.Builder
	b.WriteString("| key | takes | default | meaning |\n| --- | --- | --- | --- |\n")
	for _, fields := range groups {
		rows(&b, "", fields)
	}
	return b.String()
}

func rows(b *strings.Builder, prefix string, fields []Field) {
	for _, f := range fields {
		info := f.Info()
		if info.Kind == KindLater {
			continue
		}
		standard := "–"
		switch {
		case info.Required:
			standard = "required"
		case info.Spoken:
			standard = info.Default
		case info.Default != "":
			standard = "`" + info.Default + "`"
		}
		b.WriteString("| `" + prefix + info.Key + "` | " + cell(takes(info)) + " | " + cell(standard) + " | " + cell(info.Doc) + " |\n")
		if info.Kind == KindObject {
			rows(b, prefix+info.Key+".", info.Fields)
		}
	}
}

// takes says what a field takes, with its bounds.
func takes(info *Info) string {
	s := noun(info)
	switch {
	case info.Kind != KindEnum && info.Enum != nil:
		s += ": " + strings.Join(info.Enum, ", ")
	case info.Min != "" && info.Max != "":
		s += ", " + info.Min + " to " + info.Max
	case info.Min != "":
		s += ", at least " + info.Min
	case info.Max != "":
		s += ", at most " + info.Max
	}
	if info.Short != "" {
		s += ", or its `" + info.Short + "` alone"
	}
	if len(info.Besides) > 0 {
		s += ", or `" + strings.Join(info.Besides, "`, `") + "`"
	}
	return s
}

func cell(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\n", " "), "|", `\|`)
}
