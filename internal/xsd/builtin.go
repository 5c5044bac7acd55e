package xsd

import (
	"encoding/xml"
	"math/big"
	"strings"
)

// anyType is the type without constraints.
var anyType = &Type{Name: xml.Name{Space: Namespace, Local: "anyType"}, Any: true, Mixed: true, AnyAttribute: true}

// builtins returns the predefined types by local name.
func builtins() map[string]*Type {
	all := map[string]*Type{"anyType": anyType}
	add := func(name string, s *Simple) {
		all[name] = &Type{Name: xml.Name{Space: Namespace, Local: name}, Simple: s}
	}
	add("anySimpleType", &Simple{primitive: stringType, space: "preserve"})
	add("string", &Simple{primitive: stringType, space: "preserve"})
	add("normalizedString", &Simple{primitive: stringType, space: "replace"})
	for _, name := range []string{"token", "language", "NMTOKEN", "Name", "NCName", "ID", "IDREF", "ENTITY", "anyURI", "QName", "NOTATION"} {
		add(name, &Simple{primitive: stringType, space: "collapse"})
	}
	for list, item := range map[string]string{"NMTOKENS": "NMTOKEN", "IDREFS": "IDREF", "ENTITIES": "ENTITY"} {
		add(list, &Simple{item: all[item].Simple})
	}
	add("boolean", &Simple{primitive: booleanType})
	add("decimal", &Simple{primitive: decimalType})
	add("double", &Simple{primitive: doubleType})
	add("float", &Simple{primitive: doubleType})
	add("base64Binary", &Simple{primitive: base64Type})
	add("hexBinary", &Simple{primitive: hexType})
	add("duration", &Simple{primitive: timeType, layout: "duration"})
	for name := range times {
		add(name, &Simple{primitive: timeType, layout: name})
	}
	for name, b := range map[string][2]string{
		"integer": {}, "long": {"-9223372036854775808", "9223372036854775807"}, "int": {"-2147483648", "2147483647"},
		"short": {"-32768", "32767"}, "byte": {"-128", "127"},
		"nonNegativeInteger": {"0", ""}, "positiveInteger": {"1", ""}, "nonPositiveInteger": {"", "0"}, "negativeInteger": {"", "-1"},
		"unsignedLong": {"0", "18446744073709551615"}, "unsignedInt": {"0", "4294967295"}, "unsignedShort": {"0", "65535"}, "unsignedByte": {"0", "255"},
	} {
		add(name, &Simple{primitive: integerType, bounds: bounds{min: rat(b[0]), max: rat(b[1])}})
	}
	return all
}

// rat returns a number, or nil if text is not one.
func rat(text string) *big.Rat {
	if len(text) > maxDigits || strings.ContainsAny(text, "eE") && !smallExponent(text) {
		return nil
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil
	}
	return r
}
