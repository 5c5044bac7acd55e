package importer

import "strings"

// member returns a member of a value, which may be missing.
func member(v value, name string) value {
	sign := "?."
	if v.text == "vars" || v.text == "props" || v.text == "steps" || v.text == "env" || v.text == "error" || v.text == "#" {
		sign = "."
	}
	switch {
	case identifier.MatchString(name):
		return value{text: v.text + sign + name}
	case strings.Trim(name, "0123456789") == "":
		return value{text: v.text + "?.[" + name + "]"}
	}
	return value{text: v.text + "?.[" + quote(name) + "]"}
}

// path returns the value at a path such as a.b.0.
func path(v value, dotted string) value {
	for _, name := range strings.Split(dotted, ".") {
		if name != "" {
			v = member(v, strings.NewReplacer("~1", ".", "~0", "~").Replace(name))
		}
	}
	return v
}

// constantString returns the text of an argument that is a string.
func constantString(args []argument, i int) (string, bool) {
	if i >= len(args) {
		return "", false
	}
	var only []token
	for _, t := range args[i].tokens {
		if t.kind != tokenLine {
			only = append(only, t)
		}
	}
	if len(only) != 1 || only[0].kind != tokenString {
		return "", false
	}
	return only[0].text, true
}

// function translates a method that is a function of the expression language.
func (p *parser) function(name string, on value, args []argument) (value, error) {
	texts := []string{on.text}
	for _, a := range args {
		v, err := p.sub(a)
		if err != nil {
			return value{}, err
		}
		texts = append(texts, v.text)
	}
	return value{text: name + "(" + strings.Join(texts, ", ") + ")"}, nil
}
