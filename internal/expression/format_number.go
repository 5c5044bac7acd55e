package expression

import (
	"errors"
	"strings"

	"valence/internal/document"
	"valence/internal/expression/exact"
)

// numberPattern is a compiled pattern of formatNumber.
type numberPattern struct {
	positive, negative numberAffix
	group              int // digits between group separators; 0 for none
	least              int // integer digits that are always written
	fraction           int // decimal places that are always written
	most               int // decimal places at most
	shift              int64
}

// numberAffix is the text around the digits.
type numberAffix struct{ prefix, suffix string }

// prepareNumberPattern compiles a constant pattern.
func prepareNumberPattern(c *compiler, args []*node) any {
	source, ok := args[1].value.(string)
	if !args[1].fixed || !ok {
		return nil
	}
	p, err := parseNumberPattern(source)
	if err != nil {
		c.problem(args[1].site.pos, CodeValue, "write a pattern such as \"#,##0.00\"", "%s", err)
		return nil
	}
	return p
}

// maxNumberPattern limits the bytes of a pattern, and therefore the digits that
// it asks for.
const maxNumberPattern = 100

// parseNumberPattern parses a pattern such as #,##0.00 or 0.0%.
func parseNumberPattern(source string) (*numberPattern, error) {
	if len(source) > maxNumberPattern {
		return nil, errors.New("the pattern of a number is longer than 100 bytes")
	}
	p := &numberPattern{}
	first, second, two, err := cutPattern(source)
	if err != nil {
		return nil, err
	}
	if p.positive, err = p.parse(first); err != nil {
		return nil, err
	}
	p.negative = numberAffix{"-" + p.positive.prefix, p.positive.suffix}
	if two {
		if p.negative, err = new(numberPattern).parse(second); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// cutPattern splits a pattern at a semicolon outside of quotes.
func cutPattern(source string) (first, second string, two bool, err error) {
	quoted := false
	for i := range len(source) {
		switch {
		case source[i] == '\'':
			quoted = !quoted
		case source[i] == ';' && !quoted:
			return source[:i], source[i+1:], true, nil
		}
	}
	if quoted {
		return "", "", false, errors.New("the pattern has a quote without an end")
	}
	return source, "", false, nil
}

// parse parses the pattern of one sign and returns the text around its digits.
func (p *numberPattern) parse(source string) (numberAffix, error) {
	var before, after strings.Builder
	at, stage := 0, &before
	for at < len(source) && strings.IndexByte("#0,.", source[at]) < 0 {
		at = p.literal(source, at, stage)
	}
	end := at
	for end < len(source) && strings.IndexByte("#0,.", source[end]) >= 0 {
		end++
	}
	if err := p.digits(source[at:end]); err != nil {
		return numberAffix{}, err
	}
	for at, stage = end, &after; at < len(source); {
		if strings.IndexByte("#0,.", source[at]) >= 0 {
			return numberAffix{}, errors.New("the pattern has digits in two places; put other text in single quotes")
		}
		at = p.literal(source, at, stage)
	}
	return numberAffix{before.String(), after.String()}, nil
}

// literal writes the literal text at a position and returns the next position.
func (p *numberPattern) literal(source string, at int, out *strings.Builder) int {
	if source[at] != '\'' {
		if source[at] == '%' {
			p.shift = 2
		}
		out.WriteByte(source[at])
		return at + 1
	}
	end := strings.IndexByte(source[at+1:], '\'')
	if end < 0 { // cutPattern has rejected it
		return len(source)
	}
	if end == 0 {
		out.WriteByte('\'')
	}
	out.WriteString(source[at+1 : at+1+end])
	return at + end + 2
}

// digits parses the middle of a pattern, such as #,##0.00.
func (p *numberPattern) digits(s string) error {
	whole, fraction, dotted := strings.Cut(s, ".")
	if strings.Trim(whole, "#0,") != "" || strings.Trim(fraction, "#0") != "" || strings.Trim(whole+fraction, ",") == "" {
		if dotted && strings.Contains(fraction, ",") {
			return errors.New("a pattern has `,` between groups and `.` before the decimal places, whatever the result looks like")
		}
		return errors.New("the pattern has no digits; write 0 for a digit that is always there and # for one that may be missing")
	}
	if i := strings.LastIndexByte(whole, ','); i >= 0 {
		if p.group = len(whole) - i - 1; p.group == 0 {
			return errors.New("the pattern has no digit after its last `,`")
		}
	}
	whole = strings.ReplaceAll(whole, ",", "")
	if strings.Contains(strings.TrimLeft(whole, "#"), "#") || strings.Contains(strings.TrimRight(fraction, "#"), "#") {
		return errors.New("in a pattern, # stands before the zeros of the integer and after those of the decimal places")
	}
	p.least, p.fraction, p.most = strings.Count(whole, "0"), strings.Count(fraction, "0"), len(fraction)
	return nil
}

func formatNumber(c *call) (any, error) {
	n, err := c.num(0)
	if err != nil {
		return nil, err
	}
	p, ok := c.prepared.(*numberPattern)
	if !ok {
		if p, err = parseNumberPattern(c.text(1)); err != nil {
			return nil, c.fail("%s", err)
		}
	}
	if p.shift > 0 {
		if n, err = exact.Mul(n, exact.Int(100)); err != nil {
			return nil, err
		}
	}
	if n, err = exact.Round(n, int64(p.most), exact.HalfAway); err != nil {
		return nil, err
	}
	if err := c.m.charge(c.site, n, n); err != nil {
		return nil, err
	}
	text := plainDigits(n.Text())
	if err := c.allocText(3*len(text) + 2*maxNumberPattern); err != nil {
		return nil, err
	}
	return p.format(text), nil
}

// format lays out a number in plain digits.
func (p *numberPattern) format(text string) string {
	text, minus := strings.CutPrefix(text, "-")
	affix := p.positive
	if minus {
		affix = p.negative
	}
	whole, fraction, _ := strings.Cut(text, ".")
	whole = strings.TrimLeft(whole, "0")
	if missing := p.least - len(whole); missing > 0 {
		whole = strings.Repeat("0", missing) + whole
	}
	if missing := p.fraction - len(fraction); missing > 0 {
		fraction += strings.Repeat("0", missing)
	}
	var out strings.Builder
	out.WriteString(affix.prefix)
	for i := range len(whole) {
		if p.group > 0 && i > 0 && (len(whole)-i)%p.group == 0 {
			out.WriteByte(',')
		}
		out.WriteByte(whole[i])
	}
	if whole == "" && fraction == "" {
		out.WriteByte('0')
	}
	if fraction != "" {
		out.WriteByte('.')
		out.WriteString(fraction)
	}
	out.WriteString(affix.suffix)
	return out.String()
}

// plainDigits returns a number without an exponent.
func plainDigits(n document.Number) string {
	mantissa, exponent, ok := strings.Cut(string(n), "e")
	if !ok {
		return mantissa
	}
	mantissa, minus := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	negative := strings.HasPrefix(exponent, "-")
	shift := 0
	for _, d := range []byte(strings.TrimLeft(exponent, "+-")) {
		shift = shift*10 + int(d-'0')
	}
	digits := whole + fraction
	point := len(whole) + shift
	if negative {
		point = len(whole) - shift
	}
	switch {
	case point <= 0:
		digits = "0." + strings.Repeat("0", -point) + digits
	case point >= len(digits):
		digits += strings.Repeat("0", point-len(digits))
	default:
		digits = digits[:point] + "." + digits[point:]
	}
	if minus {
		return "-" + digits
	}
	return digits
}
