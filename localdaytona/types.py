"""Types that every module here shares. No behaviour may live here."""

from pydantic import JsonValue

JSON = JsonValue
JSONObject = dict[str, JSON]
