package loader

import (
	"bytes"
	"regexp"
	"slices"
	"strings"

	"valence/internal/fault"
	"valence/processes"
	"valence/processes/language"
)

// acceptance is a comment by which an author accepts a warning knowingly:
// `# accept: CODE because REASON`.
type acceptance struct {
	at     fault.Pos
	code   fault.Code
	reason string

	used, isError bool // it accepts a warning; an error is in its place
	ofCrash       bool // only crash tests report its code
}

var acceptComment = regexp.MustCompile(`(?:^|\s)#\s*accept:\s*(\S*)\s*(?:because\b\s*(.*))?`)

// accepted removes the warnings that comments of the files accept, and reports
// comments without a reason and comments that accept nothing.
func accepted(files []processes.File, problems fault.Problems) fault.Problems {
	comments := FindAcceptances(files).byFile
	if len(comments) == 0 {
		return problems
	}
	problems = slices.DeleteFunc(problems, func(p *fault.Problem) bool {
		a := comments[p.File]
		return a != nil && p.Severity == fault.Warning && a.accept(p)
	})
	incorrect := problems.HasErrors()
	for _, p := range problems {
		if a := comments[p.File]; a != nil && p.Severity == fault.Error {
			if comment := a.at(p.Line, p.Code); comment != nil {
				comment.isError = true
			}
		}
	}
	for _, f := range files {
		if a := comments[f.Name]; a != nil {
			problems = append(problems, a.unused(incorrect)...)
		}
	}
	return problems
}

// Acceptances are the comments of a project.
type Acceptances struct{ byFile map[string]*acceptances }

// FindAcceptances returns the comments of files.
func FindAcceptances(files []processes.File) *Acceptances {
	found := &Acceptances{map[string]*acceptances{}}
	for _, f := range files {
		if !isYAML(f.Name) || !bytes.Contains(f.Content, []byte("accept:")) {
			continue
		}
		if a := findAcceptances(f); len(a.list) > 0 {
			found.byFile[f.Name] = a
		}
	}
	return found
}

// Accepts reports whether a comment accepts findings with a code at a position.
func (a *Acceptances) Accepts(at fault.Pos, code fault.Code) bool {
	in := a.byFile[at.File]
	if in == nil {
		return false
	}
	comment := in.at(at.Line, code)
	return comment != nil && comment.reason != ""
}

// acceptances are the comments of one file.
type acceptances struct {
	list       []*acceptance
	byTarget   map[target]*acceptance
	itemStarts []int // by line: the first line of its step, or the line itself
}

// target is a line whose warnings with a code a comment accepts.
type target struct {
	line int
	code fault.Code
}

// findAcceptances returns the comments of a file. A comment accepts warnings of
// its line. If it is alone in its line, it accepts those of the first line below
// that is no comment.
func findAcceptances(f processes.File) *acceptances {
	found := &acceptances{byTarget: map[target]*acceptance{}}
	lines := strings.Split(strings.ReplaceAll(string(f.Content), "\r\n", "\n"), "\n")
	var pending []*acceptance
	for i, line := range lines {
		alone := strings.HasPrefix(strings.TrimSpace(line), "#")
		if m := acceptComment.FindStringSubmatchIndex(line); m != nil {
			a := &acceptance{code: fault.Code(line[m[2]:m[3]])}
			a.ofCrash = a.code == processes.CodeLostCall || a.code == processes.CodeChangedResult
			a.at = fault.Pos{File: f.Name, Line: i + 1, Col: len([]rune(line[:strings.Index(line[m[0]:], "#")+m[0]])) + 1}
			if m[4] >= 0 {
				a.reason = strings.Trim(line[m[4]:m[5]], " \t…")
			}
			found.list, pending = append(found.list, a), append(pending, a)
		}
		if !alone {
			for _, a := range pending {
				found.byTarget[target{i + 1, a.code}] = a
			}
			pending = pending[:0]
		}
	}
	if len(found.list) > 0 {
		found.itemStarts = itemStarts(lines)
	}
	return found
}

// itemStarts returns, for each line, the line in which the list item that has it
// as a key starts, or the line itself.
func itemStarts(lines []string) []int {
	type outer struct {
		line, indent int
		item         bool
	}
	starts := make([]int, len(lines)+1)
	var above []outer // with growing indents
	for i, text := range lines {
		starts[i+1] = i + 1
		trimmed := strings.TrimLeft(text, " ")
		if strings.TrimSpace(text) == "" {
			continue
		}
		indent, item := len(text)-len(trimmed), strings.HasPrefix(trimmed, "- ")
		for len(above) > 0 && above[len(above)-1].indent >= indent {
			above = above[:len(above)-1]
		}
		if len(above) > 0 && above[len(above)-1].item && !item {
			starts[i+1] = above[len(above)-1].line
		}
		above = append(above, outer{i + 1, indent, item})
	}
	return starts
}

// at returns the comment for problems with a code in a line, or nil.
func (a *acceptances) at(line int, code fault.Code) *acceptance {
	if line < 1 || line >= len(a.itemStarts) {
		return nil
	}
	if own := a.byTarget[target{line, code}]; own != nil {
		return own
	}
	return a.byTarget[target{a.itemStarts[line], code}]
}

// accept reports whether a comment accepts a warning.
func (a *acceptances) accept(p *fault.Problem) bool {
	comment := a.at(p.Line, p.Code)
	if comment == nil || comment.reason == "" {
		return false
	}
	comment.used = true
	return true
}

// unused reports the comments that are not valid or accept nothing. A project
// with errors is not checked completely, so its comments may have a purpose.
func (a *acceptances) unused(incorrect bool) (found fault.Problems) {
	for _, c := range a.list {
		problem := func(msg, hint string) {
			found = append(found, &fault.Problem{Pos: c.at, Severity: fault.Warning, Code: processes.CodeBadAccept, Msg: msg, Hint: hint})
		}
		known := c.ofCrash || slices.ContainsFunc(language.Codes(), func(d language.CodeDoc) bool { return d.Code == c.code })
		switch {
		case c.used, c.ofCrash && c.reason != "":
		case !known:
			problem("there is no code `"+cut(string(c.code))+"` to accept", "write `# accept: CODE because …` with the code in brackets at the end of the warning")
		case c.reason == "":
			problem("the warning `"+string(c.code)+"` is accepted without a reason", "write `# accept: "+string(c.code)+" because …`, with what makes it safe here")
		case c.isError:
			problem("`"+string(c.code)+"` is an error here, and errors cannot be accepted", "correct it, and remove the comment")
		case !incorrect:
			problem("the warning `"+string(c.code)+"` does not occur here", "remove the comment, or put it in the line of the warning or above its step")
		}
	}
	return found
}
