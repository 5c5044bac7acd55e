package spec

import "strings"

// Table returns a Markdown table of fields. The fields of nested maps follow
// their map, with dots between the keys.
func Table(groups ...[]Field) string {
	var b strings.Builder
	b.WriteString("| Key | Type | Default | Description |\n| --- | --- | --- | --- |\n")
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
			standard = "**required**"
		case info.Spoken:
			standard = info.Default
		case info.Default != "":
			standard = "`" + info.Default + "`"
		case info.Kind == KindBool:
			standard = "`false`"
		}
		b.WriteString("| `" + prefix + info.Key + "` | " + cell(TypeOf(info)) + " | " + cell(standard) + " | " + cell(info.Doc) + " |\n")
		if info.Kind == KindObject || info.Kind == KindObjects {
			rows(b, prefix+info.Key+".", info.Fields)
		}
	}
}

// TypeOf returns the type of a field with its values or bounds.
func TypeOf(info *Info) string {
	s := typeName(info)
	switch {
	case len(info.Enum) > 0:
		s += ": `" + strings.Join(info.Enum, "`, `") + "`"
	case info.Min != "" && info.Max != "":
		s += ", " + info.Min + " to " + info.Max
	case info.Min != "":
		s += ", at least " + info.Min
	case info.Max != "":
		s += ", at most " + info.Max
	}
	if info.Short != "" {
		s += ", or only `" + info.Short + "`"
	}
	if len(info.Besides) > 0 {
		s += ", or `" + strings.Join(info.Besides, "`, `") + "`"
	}
	return s
}

func cell(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\n", " "), "|", `\|`)
}
