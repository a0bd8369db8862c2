"""The cultural context of the Bangsamoro and of Other Bangsamoro Communities (OBCs).

The text rests on public law and on plain fact, and leaves out what is disputed:

- Republic Act 11054 (2018), the Bangsamoro Organic Law: Article II section 1 (who may
  identify as Bangsamoro), Article VI section 12 (assistance to Other Bangsamoro
  Communities), the parliamentary government, the place of non-Moro indigenous peoples.
- Supreme Court, Province of Sulu v. Medialdea, G.R. No. 242255 (2024): Sulu is not part
  of the autonomous region. The text names no provinces, since territory changes.
- Bangsamoro Autonomy Act 13, the Bangsamoro Administrative Code: the Office for Other
  Bangsamoro Communities, under the Office of the Chief Minister.
- Republic Act 8371 (1997), the Indigenous Peoples' Rights Act: Indigenous Cultural
  Communities/Indigenous Peoples.
- Republic Act 9997 (2009): the National Commission on Muslim Filipinos.
- Presidential Decree 1083 (1977): the Code of Muslim Personal Laws and its shari'ah courts.
- The groups are the thirteen Islamised ethnolinguistic groups commonly counted as Moro,
  as the Philippine Statistics Authority also lists them among the ethnic groups of its
  censuses; other spellings stand beside the names.

The words to avoid are those that official usage has dropped, that colonial writing put
on the peoples concerned, or that tie a people or a faith to violence. Project staff and
the communities themselves have the last word: subclass the context, or give
`django_obc_ai.contexts.terms.TermFinder` rules of your own.
"""

from __future__ import annotations

from typing import Any

from django_obc_ai.contexts._bangsamoro_rules import RULES
from django_obc_ai.contexts.base import BaseContext
from django_obc_ai.contexts.terms import TermFinder, TermFinding

#: Name, and the other names and spellings in use.
ETHNOLINGUISTIC_GROUPS = (
    ("Badjao", "Sama Dilaut"),
    ("Iranun", "Iranon"),
    ("Jama Mapun", "Sama Mapun"),
    ("Kalagan", "Kagan"),
    ("Kolibugan", "Kalibugan"),
    ("Maguindanaon", "Magindanawn"),
    ("Maranao", "Meranaw"),
    ("Molbog", ""),
    ("Palawani", "Panimusan"),
    ("Sama", ""),
    ("Sangil", "Sangir"),
    ("Tausug", "Suluk"),
    ("Yakan", ""),
)

_TEXT = """\
Background for answers about Bangsamoro communities. Sources and data given with a question \
outrank it. Never invent customs, figures or quotations; say what is not known.

People. Bangsamoro, or Moro, is the shared identity of distinct peoples: {groups}. Their \
languages, histories and customs differ: name the group where it is known and never treat them \
as one. Identity is a person's own to state: never infer ethnicity or religion from a name or a \
place. Not everyone in a Bangsamoro community is Muslim. Non-Moro Indigenous Peoples (IPs), such \
as the Teduray, Lambangian and Manobo peoples, are peoples in their own right under RA 8371.

Governance. RA 11054 established the Bangsamoro Autonomous Region in Muslim Mindanao (BARMM), \
with a parliament and a Chief Minister, in place of the ARMM. Other Bangsamoro Communities (OBCs) \
live outside its territory, under their own local governments and national agencies; RA 11054 \
provides for assistance to them, which the Office for Other Bangsamoro Communities (OOBC) \
coordinates. The National Commission on Muslim Filipinos (NCMF) serves Muslims nationwide. Take \
the territory from data, since it has changed. Sultans and datus hold traditional authority. \
Shari'ah courts apply the Code of Muslim Personal Laws. Madaris (singular madrasah) are Islamic \
schools.

Values. Decisions rest on consultation (shura), with elders, ulama, women and youth heard. \
Kinship is wide and binding. Maratabat is honour, dignity and standing, shared by kin; never \
reduce it to pride or to feuding (rido). Respect the five daily prayers, Friday congregational \
prayer, halal food, the Ramadan fast, Eid al-Fitr and Eid al-Adha, and plan around them. Name \
strengths, not only needs.

Words. Write "community", "people" or "ethnolinguistic group", not "tribe" or "tribal"; \
"Muslim", never "Moslem" or "Mohammedan"; "Sama Dilaut", never "sea gypsies". Never rank peoples \
by progress. Do not join Muslim or Moro to words for violence: name the group or the act. "Moro" \
is used with pride today. Keep official names as they are. Answer in the question's language.
"""

_FINDER = TermFinder(RULES)


def check_terms(text: str) -> list[TermFinding]:
    """Return the places in a text that hold words to avoid, in order.

    Official names, addresses and quoted mentions of a word are left alone. A finding is a
    hint for an editor: the checker knows words, not intentions, and gives no score.
    """
    return _FINDER.find(text)


class BangsamoroContext(BaseContext):
    """Tells the model who the Bangsamoro and the OBCs are, and how to write about them."""

    varies_by_user = False

    def render(self, *, user: Any, operation_type: str, module: str) -> str:
        """Return the same text for every call, so that providers can cache it."""
        # Any: the project's own user model, as in BaseContext; not used.
        named = (f"{name} ({other})" if other else name for name, other in ETHNOLINGUISTIC_GROUPS)
        return _TEXT.format(groups=", ".join(named))

    def check_terms(self, text: str) -> list[TermFinding]:
        """Check a text; see the function of that name."""
        return check_terms(text)


__all__ = ["ETHNOLINGUISTIC_GROUPS", "BangsamoroContext", "TermFinding", "check_terms"]
